#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include <respeft/core/error.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/merge/merge.h>
#include <respeft/merge/shortcut.h>
#include <respeft/models/model.h>

// Merging that is measured: the model's logits before and after, on the same inputs.
namespace respeft {

/// Inputs on which two models are compared.
struct Probe {
  at::Tensor inputs;        ///< `[N, ...]`, as the model reads them
  at::Tensor labels;        ///< int64 `[N]`; undefined for random inputs
  std::string description;  ///< description for reports
};

/// Random inputs as the model reads them (`InputSpec::example`), the same at every call.
Probe random_probe(const models::Model& model, int64_t examples = 64);

/// At most `images` of a dataset, drawn evenly from its classes (`data::sample`), as the model reads them. Throws
/// `std::runtime_error` on an image that cannot be read, and if there are none.
Probe image_probe(data::DatasetPtr dataset, const data::Preprocessing& preprocessing, int64_t images = 64, int64_t workers = 2);

/// The model's logits for any number of inputs, `batch_size` at once, without gradients. `stop` ends the work with `Interrupted`.
at::Tensor logits_of(models::Model& model, const at::Tensor& inputs, int64_t batch_size = 32,
                     const std::atomic<bool>* stop = nullptr);

/// Gives a head of zeros random weights while it lives: all logits of such a head are equal, so comparing them would prove
/// nothing. Other heads do not change. The destructor restores the zeros.
class RandomHead {
 public:
  explicit RandomHead(models::Model& model, uint64_t seed = 0);
  ~RandomHead();
  RandomHead(const RandomHead&) = delete;
  RandomHead& operator=(const RandomHead&) = delete;

  /// True if the head was zeros.
  bool active() const { return weight_.defined(); }

 private:
  at::Tensor weight_;
};

/// One way of merging shortcuts, tried without changing the model.
struct Trial {
  ShortcutMerge merge;
  double error = 0.0;  ///< ‖merged − unmerged logits‖ / ‖unmerged − base's logits‖ of the probe's inputs
  Comparison comparison;
  std::vector<ShortcutMerger::SiteError> sites;
};

/// Result of merging a model.
struct Merged {
  MergeReport report;         ///< without sites if there was nothing to fold
  at::Tensor logits;          ///< `[N, classes]` of the probe's inputs, after merging
  Comparison comparison;      ///< before and after
  std::vector<Trial> trials;  ///< one for each available shortcut merge, if the model has shortcuts
  std::string how;            ///< `exact`, or the shortcut merge that was chosen
  bool random_head = false;   ///< the head is zeros, so a random one stood in its place while comparing; `logits` are of that one
};

struct MergeOptions {
  std::string how;           ///< one of `merge_names()`; empty: exact, or the shortcut merge with the smallest error
  double tolerance = 1e-4;   ///< largest difference of a logit, relative to the largest logit
  bool accept_loss = false;  ///< a shortcut merge may exceed the tolerance
  /// Inputs `[N, ...]` on which shortcuts are fitted; called only where the model has some.
  std::function<at::Tensor()> calibration = nullptr;
  std::function<void(const std::string& what, int64_t done, int64_t total)> progress = nullptr;
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted`, the model as it was, soon after this becomes true
};

/// `exact`, and every `ShortcutMerge` by its name.
std::vector<std::string> merge_names();

/// Merges the adapters of `model`, if it has any, and measures its logits on the probe before and after. Where shortcuts do not
/// fold exactly, every way of merging them is tried, and the one that `how` names, or the best, is taken.
/// Throws `std::invalid_argument`, changing nothing, when the adapters cannot be merged as `how` says, and where shortcuts need
/// calibration inputs that are not given.
Merged merge_measured(models::Model& model, const Probe& probe, const MergeOptions& options = {});

/// Throws `ToleranceExceeded` if the merge changed the logits by more than the options allow, or by NaN.
void check_merge(const Merged& merged, const MergeOptions& options);

/// Both: merges, and throws where the tolerance is exceeded. The model is merged then all the same.
Merged merge_certified(models::Model& model, const Probe& probe, const MergeOptions& options = {});

/// Throws `ToleranceExceeded` if logits differ by more than `tolerance`, or by NaN. `what` names them in the message, e.g. `the
/// logits before and after merging`.
void check_tolerance(const Comparison& comparison, double tolerance, const std::string& what);

}  // namespace respeft
