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
  std::string layout;            ///< the layout that they had, e.g. `timm`, `huggingface`
  std::optional<int64_t> heads;  ///< number of attention heads, if their original shapes determine it
};

/// A layer of a model: a site and the index of a projection fused in it, or −1 for the whole weight.
struct LayerPlace {
  std::string site;
  int64_t part = -1;

  auto operator<=>(const LayerPlace&) const = default;
};

/// Input sizes that follow from the shapes of a file's tensors; 0: unknown.
struct PatchGrid {
  int64_t grid = 0;   ///< patches per side of the position embedding
  int64_t patch = 0;  ///< pixels per side of a patch
};

/// The names and shapes of a family's weights in other libraries, and their conversion to this library's.
class WeightMap {
 public:
  virtual ~WeightMap();

  // State dicts
  /// Renames and reshapes a state dict to the family's own names; `std::nullopt` if its layout is not one of the family. Tensors
  /// may be without data, except those for which `needs_values` is true. Unknown tensors keep their names. Throws
  /// `std::runtime_error` on an incomplete layout.
  virtual std::optional<OwnTensors> to_own(const TensorMap& tensors) const = 0;
  /// True for a foreign tensor whose values, not only its shape, determine its conversion.
  virtual bool needs_values(std::string_view foreign) const = 0;
  /// True for a tensor of a head, the model's or an unused one, by its name after `to_own`.
  virtual bool is_head(std::string_view name) const = 0;
  /// The error message for an unknown layout, e.g. "neither timm's nor Google's names of a Vision Transformer".
  virtual std::string not_recognized() const = 0;
  /// Converts tensors to the model's shapes: flattened convolutions, position embeddings for another grid. Returns true if
  /// position embeddings were resampled. Throws `std::runtime_error` that names the key if that is not possible, or if the model
  /// has a different number of attention heads.
  virtual bool fit(const Model& model, OwnTensors& own) const = 0;
  /// True if the weights may be loaded although the model's keys `missing` are absent (they keep their initial values) and the
  /// keys `unknown` are not in the model. Throws `std::runtime_error` if that would be wrong because the file's head is loaded
  /// (`with_head`).
  virtual bool may_differ(const Model& model, const std::vector<std::string>& missing, const std::vector<std::string>& unknown,
                          bool with_head) const = 0;
  /// Throws `std::runtime_error` that names the key if a configuration next to the weights describes a different computation.
  /// `layout` is the weights' layout, `text` the file's JSON, `file` its name in messages.
  virtual void check_config(const Model& model, const std::string& layout, const std::string& text,
                            const std::string& file) const = 0;

  // Reports
  virtual PatchGrid patch_grid(const Model& model, const TensorMap& own) const = 0;
  /// Published architectures that tensors of these shapes fit.
  virtual std::vector<std::string> fitting(const TensorMap& own) const = 0;
  /// The normalization that published weights were trained with, from the names of the model and the file or from the layout
  /// (empty: unknown).
  virtual std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                               const std::string& layout) const = 0;

  // Layers, for adapter files of other libraries
  /// The libraries whose module names are known ("bases"): `timm`, or the `model_type` of Transformers models.
  virtual std::vector<std::string> bases() const = 0;
  /// The linear layer with this name in one of the bases; `std::nullopt` if there is none. `base` receives the base if the name
  /// determines it.
  virtual std::optional<LayerPlace> place(const std::string& foreign, std::string& base) const = 0;
  /// The layer's name in a model of `base`; empty if it is not a module of its own there.
  virtual std::string module_name(const LayerPlace& place, const std::string& base) const = 0;
  /// Names of the projections fused in a site; empty for others.
  virtual std::vector<std::string> parts(const std::string& site) const = 0;
  /// The reason why adapters of this module of one of the bases cannot be read; empty for other modules.
  virtual std::string no_adapter(const std::string& foreign) const = 0;
  /// The head's name in a model of `base`.
  virtual std::string head_name(const std::string& base) const = 0;
  /// Converts the weight `[classes, D]` of this library's head to that of a model of `base`.
  virtual at::Tensor head_to(const at::Tensor& weight, const std::string& base) const = 0;
  /// The reverse. Throws `std::runtime_error` if that head reads features that this library's head does not.
  virtual at::Tensor head_from(const at::Tensor& weight, const std::string& base) const = 0;
};

}  // namespace respeft::models
