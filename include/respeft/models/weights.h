#pragma once

#include <string>
#include <vector>

#include <respeft/formats/safetensors.h>
#include <respeft/models/model.h>

namespace respeft::models {

/// What loading weights did.
struct LoadReport {
  std::string layout;  ///< `timm`, `huggingface` or `google`
  /// Keys of the model that the file lacks, which stay fresh: the head's, and with another pooling than the file's the final
  /// norm's. Loading fails on any other.
  std::vector<std::string> missing;
  std::vector<std::string> unused;   ///< keys of the file that the model has no place for: a head's, and a final norm's likewise
  bool positions_resampled = false;  ///< the position embedding was resampled to the model's grid
};

/// Renames a state dict to timm's keys, fusing q, k and v where they are apart, and turns Google's arrays into PyTorch's shapes.
/// Recognized: timm; DINOv2's own; Hugging Face ViT and DINOv2 (with registers too); Google's ViT, AugReg and Big Vision. What
/// training programs put before every name (`module.`, `backbone.`, `_orig_mod.`) is taken away. A head behind Google's
/// `pre_logits`, which timm's models lack, is set aside. Throws `std::runtime_error` on any other layout. `layout` receives its
/// name.
TensorMap to_timm_layout(TensorMap tensors, std::string& layout);

/// The other direction: a plain classifier's state dict under timm's keys as Hugging Face's image classifier of `model_type`
/// (`vit`, `dinov2` or `dinov2_with_registers`) has it in its files, with q, k and v apart. DINOv2's classifiers read the class
/// token and the patches' mean side by side; a head of the class token alone has zeros for the mean. Throws
/// `std::invalid_argument` on a tensor that such a model has no place for.
TensorMap to_huggingface_layout(const TensorMap& timm_tensors, const std::string& model_type);

/// The number of rows of the head in timm-layout tensors; 0 when there is none, or one that reads nothing.
int64_t head_classes(const TensorMap& timm_tensors);
/// The same, for a file in any recognized layout.
int64_t head_classes_of_file(const std::string& path);

/// Loads weights in any format of `formats::open_tensor_file` into the plain model. A head of another number of classes is left out and
/// reported, and then so is a final norm (timm's `norm` or `fc_norm`) of another pooling.
/// Throws `std::runtime_error` naming file, key and fault: a key that does not match (with what was expected), a wrong shape, and
/// in Hugging Face's layout a `config.json` beside the file by which the model computes something else (other heads, another
/// activation, an epsilon above 1e-6; Transformers' 1e-12 for ViT is taken for timm's 1e-6).
LoadReport load_weights(models::ImageModel& model, const std::string& path);
LoadReport load_weights(models::ImageModel& model, TensorMap tensors, const std::string& origin);

/// The plain model's tensors under timm's keys. Throws `std::invalid_argument` if an adapter is attached.
TensorMap plain_state(const models::ImageModel& model);

/// SHA-256 over the frozen base: the plain parameters' names, dtypes, shapes and bytes, the head and adapters left out.
std::string base_sha256(const models::ImageModel& model);

}  // namespace respeft::models
