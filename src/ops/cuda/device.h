#pragma once

#include <ATen/core/Tensor.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <driver_types.h>

#include <type_traits>

#include "cuda/cost.h"

/// What the CUDA kernels' host code shares: the device at hand, ways of computing, and dtypes.
namespace respeft::ops::cuda {

/// How an operator computes what can be computed in one kernel of ours or with the vendor's library.
enum class Way {
  Cheapest,  ///< whichever `cuda/cost.h` predicts to be faster
  Fused,     ///< our kernel
  Vendor,    ///< the vendor's product
};

/// Sets the way of every operator while it lives, in all threads (autograd runs backwards in its own); for tests and benchmarks.
class ScopedWay {
 public:
  explicit ScopedWay(Way way);
  ScopedWay(const ScopedWay&) = delete;
  ScopedWay& operator=(const ScopedWay&) = delete;
  ~ScopedWay();

 private:
  Way before_;
};

/// Whether to take our kernel, given what it and the alternative are predicted to cost.
bool takes_fused(const ::respeft::cuda::Cost& fused, const ::respeft::cuda::Cost& vendor);

/// The current device.
const ::respeft::cuda::Architecture& gpu();

/// The current stream of the current device.
cudaStream_t stream();

/// Whether float32 products are exact; otherwise TF32 is allowed (`at::globalContext().setAllowTF32CuBLAS`).
bool exact_products();

::respeft::cuda::Arithmetic arithmetic(const at::Tensor& tensor);

/// The kernels' element type of a dtype.
template <class Scalar>
using ElementOf = std::conditional_t<std::is_same_v<Scalar, at::Half>, __half,
                                     std::conditional_t<std::is_same_v<Scalar, at::BFloat16>, __nv_bfloat16, float>>;

/// The data of a contiguous tensor; null if it is undefined.
template <class Scalar>
const ElementOf<Scalar>* data(const at::Tensor& tensor) {
  return tensor.defined() ? reinterpret_cast<const ElementOf<Scalar>*>(tensor.const_data_ptr<Scalar>()) : nullptr;
}
template <class Scalar>
ElementOf<Scalar>* mutable_data(at::Tensor& tensor) {
  return reinterpret_cast<ElementOf<Scalar>*>(tensor.mutable_data_ptr<Scalar>());
}

/// The dtypes that the kernels have, as `scalar_t`; float64 is for the callers to compute otherwise.
#define RESPEFT_DISPATCH(TENSOR, NAME, ...)                                                             \
  AT_DISPATCH_SWITCH((TENSOR).scalar_type(), NAME,                                                      \
                     AT_DISPATCH_CASE(at::kFloat, __VA_ARGS__) AT_DISPATCH_CASE(at::kHalf, __VA_ARGS__) \
                         AT_DISPATCH_CASE(at::kBFloat16, __VA_ARGS__))

}  // namespace respeft::ops::cuda
