#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

/// Conversion of tensors to kernel arguments.
namespace respeft::ops::cuda {

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

/// Dispatches on the dtypes of the kernels, as `scalar_t`. Callers compute float64 without them.
#define RESPEFT_DISPATCH(TENSOR, NAME, ...)                                                             \
  AT_DISPATCH_SWITCH((TENSOR).scalar_type(), NAME,                                                      \
                     AT_DISPATCH_CASE(at::kFloat, __VA_ARGS__) AT_DISPATCH_CASE(at::kHalf, __VA_ARGS__) \
                         AT_DISPATCH_CASE(at::kBFloat16, __VA_ARGS__))

}  // namespace respeft::ops::cuda
