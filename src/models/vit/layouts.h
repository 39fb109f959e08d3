#pragma once

#include <functional>
#include <string>
#include <string_view>

#include <respeft/models/weight_map.h>

// State dicts of Vision Transformers in one library's names and shapes, turned into timm's, and steps that several layouts share.
namespace respeft::models::vit {

/// Of Hugging Face's ViT and DINOv2. `prefix`: what stands before the backbone's names, e.g. `vit.`.
OwnTensors from_huggingface(TensorMap tensors, std::string_view prefix);
/// Of Google's programs in JAX: Flax has a linear's inputs first, a convolution's kernel before its channels, heads apart.
OwnTensors from_google(TensorMap tensors, std::string_view prefix);
/// Of torchvision's `VisionTransformer`.
OwnTensors from_torchvision(TensorMap tensors);
/// Of timm itself and of the original DINOv2.
OwnTensors from_timm(TensorMap tensors);

/// Renames every tensor by `rename(key)`; those that get an empty name are dropped. Throws `std::runtime_error` where two get
/// one.
TensorMap renamed(TensorMap tensors, const std::function<std::string(const std::string&)>& rename);
/// `….attn.q`, `….attn.k` and `….attn.v`, which must be alike, become `….attn.qkv`.
TensorMap fuse_projections(TensorMap tensors);
/// The other direction.
TensorMap split_projections(const TensorMap& tensors);
/// Gives the head names that no plain model has, so that it is left out.
void set_head_aside(TensorMap& tensors);

/// Hugging Face's classifiers on DINOv2 read the class token and the patches' mean side by side. A head `[classes, D]` of the
/// class token becomes `[classes, 2 D]` that ignores the mean.
at::Tensor wide_head(const at::Tensor& weight);
/// The other direction; undefined where the head does read the mean, or where its values are not there (`at::kMeta`).
at::Tensor narrow_head(const at::Tensor& weight);

}  // namespace respeft::models::vit
