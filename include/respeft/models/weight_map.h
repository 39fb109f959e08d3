#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <respeft/core/named_tensors.h>
#include <respeft/models/model.h>
#include <respeft/models/normalization.h>

namespace respeft::models {

/// Tensors under the model's own names.
struct OwnTensors {
  TensorMap tensors;
  std::string layout;            ///< the names that they had, e.g. `timm`, `huggingface`
  std::optional<int64_t> heads;  ///< attention heads, where the shapes that they had tell
};

/// A layer of a model: a site, and the number of the projection fused in it, or −1 for the whole weight.
struct LayerPlace {
  std::string site;
  int64_t part = -1;

  auto operator<=>(const LayerPlace&) const = default;
};

/// Figures of a file's images that its tensors' shapes tell; 0: unknown.
struct PatchGrid {
  int64_t grid = 0;   ///< patches a side that the position embedding is for
  int64_t patch = 0;  ///< pixels a side of a patch
};

/// The names and shapes of a family's weights in other libraries, and their conversion to ours.
class WeightMap {
 public:
  virtual ~WeightMap();

  // State dicts
  /// Renames and reshapes a state dict to the family's own names; nothing if it has no layout of the family. Tensors may be
  /// without data, except those that `needs_values`. Tensors without a place keep their names. Throws `std::runtime_error` on
  /// an incomplete layout.
  virtual std::optional<OwnTensors> to_own(const TensorMap& tensors) const = 0;
  /// True for a foreign tensor whose values, not only its shape, determine its conversion.
  virtual bool needs_values(std::string_view foreign) const = 0;
  /// True for a tensor of a head, ours or one that has no place, by its name after `to_own`.
  virtual bool is_head(std::string_view name) const = 0;
  /// The message for a state dict in no layout of the family, e.g. "neither timm's nor Google's names of a Vision Transformer".
  virtual std::string not_recognized() const = 0;
  /// Converts tensors that differ only in shape to the model's: flattened convolutions, position embeddings of another grid.
  /// Returns true if positions were resampled. Throws `std::runtime_error` that names the key if that is not possible, and if
  /// the model has another number of heads.
  virtual bool fit(const Model& model, OwnTensors& own) const = 0;
  /// True if the weights may be loaded although the model's keys `missing` are absent (they keep fresh values) and `unknown`
  /// have no place. Throws `std::runtime_error` if that is wrong because the file's head is loaded (`with_head`).
  virtual bool may_differ(const Model& model, const std::vector<std::string>& missing, const std::vector<std::string>& unknown,
                          bool with_head) const = 0;
  /// Throws `std::runtime_error` that names the key if a configuration next to the weights describes a different computation.
  /// `layout` is the weights' layout, `text` the file's JSON, `file` its name in messages.
  virtual void check_config(const Model& model, const std::string& layout, const std::string& text,
                            const std::string& file) const = 0;

  // Reports
  virtual PatchGrid patch_grid(const Model& model, const TensorMap& own) const = 0;
  /// Published architectures that tensors of these shapes look made for.
  virtual std::vector<std::string> fitting(const TensorMap& own) const = 0;
  /// The normalization that published weights were trained with, by the words in the names of the model and of the file or by the
  /// layout (empty: unknown).
  virtual std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                               const std::string& layout) const = 0;

  // Layers, for adapters in other libraries' files
  /// The libraries whose module names are understood: `timm`, or the `model_type` of Transformers' models.
  virtual std::vector<std::string> bases() const = 0;
  /// The layer that has this name in one of the bases; nothing if there is none, or it is not linear. `base` receives the base
  /// where the name tells it.
  virtual std::optional<LayerPlace> place(const std::string& foreign, std::string& base) const = 0;
  /// The layer's name in a model of `base`; empty if that has none of its own.
  virtual std::string module_name(const LayerPlace& place, const std::string& base) const = 0;
  /// Names of the projections fused in a site; empty for others.
  virtual std::vector<std::string> parts(const std::string& site) const = 0;
  /// The reason why no adapter of another library can be read for this module of one of the bases; empty for other modules.
  virtual std::string no_adapter(const std::string& foreign) const = 0;
  /// The head's name in a model of `base`.
  virtual std::string head_name(const std::string& base) const = 0;
  /// The weight `[classes, D]` of our head as a model of `base` has it.
  virtual at::Tensor head_to(const at::Tensor& weight, const std::string& base) const = 0;
  /// The reverse. Throws `std::runtime_error` if that head reads features that ours does not.
  virtual at::Tensor head_from(const at::Tensor& weight, const std::string& base) const = 0;
};

}  // namespace respeft::models
