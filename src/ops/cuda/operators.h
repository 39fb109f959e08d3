#pragma once

#include <torch/library.h>

namespace respeft::ops::cuda {

/// Registers these kernels for the CUDA key, or for another key whose tensors live in GPU memory.
void implement_rescaled_linear(torch::Library& library);
void implement_shortcut(torch::Library& library);

}  // namespace respeft::ops::cuda
