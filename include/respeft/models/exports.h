#pragma once

#include <string>

#include <respeft/core/named_tensors.h>
#include <respeft/models/model.h>

namespace torch::jit {
struct Module;
}

namespace respeft::models {

/// Converts a family's plain models for other libraries. Every function throws `std::invalid_argument` with the reason if the
/// other library has no such model; the defaults always throw.
class ExportSources {
 public:
  virtual ~ExportSources();

  /// timm's `config.json` as a JSON object, without the preprocessing and the class names: `architecture`, `num_features`,
  /// `global_pool`, `model_args`, and in `pretrained_cfg` `first_conv` and `classifier`.
  virtual std::string timm_config(const Model& model) const;

  /// The `model_type` of the Transformers model that computes the same.
  virtual std::string huggingface_type(const Model& model) const;
  /// Transformers' `config.json` as a JSON object, without the class names.
  virtual std::string huggingface_config(const Model& model) const;
  /// The model's tensors under the names in Transformers' files.
  virtual TensorMap huggingface_tensors(const Model& model, const TensorMap& state) const;

  /// A module `forward(input) -> output` that uses only aten operators, accepts any batch size and contains the model's tensors.
  virtual torch::jit::Module torchscript(const Model& model) const;
};

}  // namespace respeft::models
