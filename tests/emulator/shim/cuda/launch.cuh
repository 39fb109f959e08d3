#pragma once

#include <cuda_runtime_api.h>

#include "cuda/launch.h"
#include "cuda/precision.cuh"
#include "tests/emulator/emulator.h"

namespace respeft::cuda {

/// Runs `kernel` on the emulated GPU, for launchers that the host's compiler compiles. What is wrong with it is reported.
template <class Params>
cudaError_t launch(void (*kernel)(Params), const LaunchShape& shape, const Params& params, cudaStream_t) {
  emulator::launch({shape.grid, shape.block, shape.shared_bytes}, emulator::Schedule{}, [kernel, params] { kernel(params); });
  return cudaSuccess;
}

}  // namespace respeft::cuda
