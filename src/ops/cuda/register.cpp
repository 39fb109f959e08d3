#include "src/ops/cuda/operators.h"

TORCH_LIBRARY_IMPL(respeft, CUDA, library) {
  respeft::ops::cuda::implement_rescaled_linear(library);
  respeft::ops::cuda::implement_shortcut(library);
}
