#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <respeft/merge/merge.h>
#include <respeft/models/model.h>

namespace respeft {

/// Replacement of an input or middle shortcut, which reads inputs of earlier layers, in a plain layer. Let t_n be the
/// activations that layer n receives from earlier layers. The merged layer predicts t_n from its own input: `W* = W + s B_n
/// (A_n + E_n)`, `b* = b + s B_n c_n`.
enum class ShortcutMerge {
  Drop,        ///< E = 0: the shortcut is left out
  Input,       ///< E = α A_n with α from the norms of inputs (is, Eq. 8 and 9) or activations (ms, Eq. 12) during training
  Weight,      ///< is: E = α A_n with α from the norms of merged weights (Eq. 10 and 11); ms: E = Σ_k α_k A_{n-k} (Eq. 13)
  Scalar,      ///< E = α A_n with the α that fits t_n best (least squares on calibration inputs)
  Regression,  ///< the best linear prediction of t_n from [x_n, 1] (ridge regression on calibration inputs)
};

/// All of them, in that order.
const std::vector<ShortcutMerge>& shortcut_merges();
/// `drop`, `input`, `weight`, `scalar` or `regression`.
std::string to_string(ShortcutMerge merge);
/// Throws `std::invalid_argument` that suggests a similar name.
ShortcutMerge shortcut_merge_from_name(const std::string& name);

/// True if `model` cannot be merged exactly, so that a `ShortcutMerger` is needed.
bool needs_shortcut_merge(torch::nn::Module& model);

struct ShortcutMergerOptions {
  double ridge = 1e-2;  ///< λ of the regression, times the mean of the input's second moments
  int64_t batch_size = 32;
  /// Bytes of moments kept at once, `(in + 1)²` doubles a layer (twice that while one is solved): where a model needs more, the
  /// calibration inputs run through it several times.
  int64_t memory = int64_t{1} << 30;
};

/// Merges a model with input or middle shortcuts and measures the error. The model, and everything that `forward` refers to,
/// must outlive it.
class ShortcutMerger {
 public:
  /// Runs the model on inputs `[N, ...]` in the given pass.
  using Forward = std::function<at::Tensor(const at::Tensor& inputs, nn::ForwardPass& pass)>;

  /// Runs `model` by `forward` in evaluation mode on calibration inputs `[N, ...]` and computes every merge's replacement of
  /// the shortcuts and its error. Does not change the model. Throws `std::invalid_argument` if the model has no such shortcut,
  /// a layer with one is not called, or there are no inputs.
  ShortcutMerger(torch::nn::Module& model, Forward forward, const at::Tensor& inputs, const ShortcutMergerOptions& options = {});
  /// The same for images `[N, C, H, W]`.
  ShortcutMerger(models::Model& model, const at::Tensor& images, const ShortcutMergerOptions& options = {});
  ~ShortcutMerger();

  /// The available merges. `Input`, and `Weight` with middle shortcuts, need the norms that training records; `Regression`
  /// needs finite inputs. Using another one throws `std::invalid_argument` with the reason.
  std::vector<ShortcutMerge> merges() const;

  /// Error of one layer's merged update.
  struct SiteError {
    std::string name;
    bool exact = false;
    /// ‖B_n (t_n − its prediction)‖ / ‖B_n (x_n A_nᵀ + t_n)‖ on the calibration inputs, over all projections.
    double error = 0.0;
  };
  std::vector<SiteError> errors(ShortcutMerge merge) const;

  /// The output of the merged model; does not change the model.
  at::Tensor preview(ShortcutMerge merge, const at::Tensor& inputs) const;

  /// The output without any update: the base with the trained head.
  at::Tensor base(const at::Tensor& inputs) const;

  /// Folds every adapter of the model, exactly where possible. Afterwards every call to this object throws
  /// `std::invalid_argument`. Otherwise as `respeft::merge`.
  MergeReport merge(ShortcutMerge merge);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace respeft
