#pragma once

#include <respeft/models/vit/vit.h>
#include <torch/csrc/jit/api/module.h>

namespace respeft::models::vit {

/// The model as a program `forward(images) -> logits` of aten operators, for any batch size. Its submodules have the model's
/// names.
torch::jit::Module scripted(const VisionTransformerImpl& vit);

}  // namespace respeft::models::vit
