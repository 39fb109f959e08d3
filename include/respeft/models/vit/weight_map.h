#pragma once

#include <string>

#include <respeft/models/weight_map.h>

namespace respeft::models {

/// The weight map of Vision Transformers. This library uses timm's names.
const WeightMap& vit_weight_map();

/// Renames a state dict to timm's keys, fusing separate q, k and v, and converts Google's arrays to PyTorch's shapes.
/// Recognized: timm; DINOv2's own; Hugging Face ViT and DINOv2 (with and without registers); Google's ViT, AugReg and Big
/// Vision; torchvision's ViT. Prefixes that training programs add to every name (`module.`, `backbone.`, `_orig_mod.`) are
/// removed. A head that follows Google's `pre_logits`, which timm's models lack, is ignored. Throws `std::runtime_error` on any
/// other layout. `layout` receives the layout's name.
TensorMap to_timm_layout(TensorMap tensors, std::string& layout);

/// The other direction: converts a plain classifier's state dict with timm's keys to the files' layout of Hugging Face's image
/// classifier `model_type` (`vit`, `dinov2` or `dinov2_with_registers`), with separate q, k and v. Heads of DINOv2 classifiers
/// read the class token concatenated with the mean over the patches; a head for the class token gets zeros for the mean. Throws
/// `std::invalid_argument` on a tensor that such a model does not have.
TensorMap to_huggingface_layout(const TensorMap& timm_tensors, const std::string& model_type);

/// How position embeddings are resampled. As in timm: bicubic with antialiasing for PyTorch weights, bilinear without
/// antialiasing for Google's.
enum class Resampling { kBicubic, kBilinear };

/// A position embedding `[1, prefix + n², D]` resampled to `[1, prefix + grid², D]`.
at::Tensor resample_position_embedding(const at::Tensor& embedding, int64_t grid, int64_t prefix_tokens,
                                       Resampling resampling = Resampling::kBicubic);

}  // namespace respeft::models
