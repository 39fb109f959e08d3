#pragma once

#include <torch/library.h>

namespace respeft::ops::cuda {

/// Give the operators of a kind these implementations: for the CUDA key; for another only where its memory is the kernels'.
void implement_rescaled_linear(torch::Library& library);
void implement_shortcut(torch::Library& library);

}  // namespace respeft::ops::cuda
