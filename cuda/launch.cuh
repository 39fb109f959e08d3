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

/// The precision of a dtype: PrecisionOf<Element, exact>::type.
template <class Element, bool exact>
struct PrecisionOf;
template <bool exact>
struct PrecisionOf<__nv_bfloat16, exact> {
  using type = BFloat16;
};
template <bool exact>
struct PrecisionOf<__half, exact> {
  using type = Float16;
};
template <>
struct PrecisionOf<float, false> {
  using type = TensorFloat32;
};
template <>
struct PrecisionOf<float, true> {
  using type = Float32;
};

/// Calls launch.operator()<Precision>() with the precision of Element.
template <class Element, class Launch>
cudaError_t with_precision(bool exact, const Launch& launch) {
  if (exact) return launch.template operator()<typename PrecisionOf<Element, true>::type>();
  return launch.template operator()<typename PrecisionOf<Element, false>::type>();
}

}  // namespace respeft::cuda
