#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace respeft::models {

/// timm's name of the module that Hugging Face's models call `name`, with q, k and v apart (`blocks.0.attn.q`); empty if it is
/// none of theirs. `model_type` receives what comes before the name there: `vit`, `dinov2`, `dinov2_with_registers`, or
/// nothing for a backbone by itself.
std::string timm_module(const std::string& name, std::string& model_type);

/// The other direction: the name of timm's module (q, k and v apart) in Hugging Face's image classifier of `model_type`, as
/// Transformers 5 names it; empty if it has none.
std::string huggingface_module(const std::string& timm, const std::string& model_type);

/// Hugging Face's classifiers on DINOv2 read the class token and the patches' mean side by side. A head `[classes, D]` of the
/// class token becomes `[classes, 2 D]` that ignores the mean.
at::Tensor wide_head(const at::Tensor& weight);
/// The other direction; undefined where the head does read the mean, or where its values are not there (`at::kMeta`).
at::Tensor narrow_head(const at::Tensor& weight);

}  // namespace respeft::models
