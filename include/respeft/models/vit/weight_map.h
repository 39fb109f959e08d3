#pragma once

#include <string>

#include <respeft/models/weight_map.h>

namespace respeft::models {

/// The weights of Vision Transformers. Our names are timm's.
const WeightMap& vit_weight_map();

/// Renames a state dict to timm's keys, fusing separate q, k and v, and converts Google's arrays to PyTorch's shapes.
/// Recognized: timm; DINOv2's own; Hugging Face ViT and DINOv2 (with registers too); Google's ViT, AugReg and Big Vision;
/// torchvision's ViT. Prefixes that training programs put before every name (`module.`, `backbone.`, `_orig_mod.`) are removed.
/// A head behind Google's `pre_logits`, which timm's models lack, is ignored. Throws `std::runtime_error` on any other layout.
/// `layout` receives its name.
TensorMap to_timm_layout(TensorMap tensors, std::string& layout);

/// The other direction: a plain classifier's state dict under timm's keys as Hugging Face's image classifier of `model_type`
/// (`vit`, `dinov2` or `dinov2_with_registers`) has it in its files, with q, k and v apart. DINOv2's classifiers read the class
/// token and the patches' mean side by side; a head of the class token alone has zeros for the mean. Throws
/// `std::invalid_argument` on a tensor that such a model has no place for.
TensorMap to_huggingface_layout(const TensorMap& timm_tensors, const std::string& model_type);

/// How a grid of positions is resampled, as timm does it: weights of its own and of PyTorch's kind bicubic and antialiased,
/// Google's bilinear and not antialiased.
enum class Resampling { kBicubic, kBilinear };

/// A position embedding `[1, prefix + n², D]` resampled to `[1, prefix + grid², D]`.
at::Tensor resample_position_embedding(const at::Tensor& embedding, int64_t grid, int64_t prefix_tokens,
                                       Resampling resampling = Resampling::kBicubic);

}  // namespace respeft::models
