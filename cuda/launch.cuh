#pragma once

#include <cuda_runtime_api.h>

#include "cuda/launch.h"
#include "cuda/precision.cuh"

namespace respeft::cuda {

/// Launches `kernel`; neither waits nor allocates, so that a graph can be captured.
template <class Params>
cudaError_t launch(void (*kernel)(Params), const LaunchShape& shape, const Params& params, cudaStream_t stream) {
  constexpr size_t kGrantedWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kGrantedWithoutAsking) {
    const auto status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             static_cast<int>(shape.shared_bytes));
    if (status != cudaSuccess) return status;
  }
  void* arguments[] = {const_cast<Params*>(&params)};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), shape.grid, shape.block, arguments, shape.shared_bytes, stream);
}

}  // namespace respeft::cuda
