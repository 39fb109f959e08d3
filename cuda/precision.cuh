#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

#include "cuda/ptx.cuh"

/// The precisions that a kernel is compiled for. Each is a type with
///   Element        what matrices hold in memory
///   kTensorCores   whether products run on the tensor cores; sums are float32 everywhere
///   kDepth         how much of the contraction one tensor-core instruction takes in
///   unpack, pack   a 32-bit register to floats and back, rounded to nearest
namespace respeft::cuda {

template <class To, class From>
__device__ __forceinline__ To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(static_cast<void*>(&to), static_cast<const void*>(&from), sizeof(To));
  return to;
}

struct BFloat16 {
  using Element = __nv_bfloat16;
  static constexpr bool kTensorCores = true;
  static constexpr int kDepth = 16;
  __device__ __forceinline__ static float to_float(Element value) { return __bfloat162float(value); }
  __device__ __forceinline__ static Element from_float(float value) { return __float2bfloat16_rn(value); }
  __device__ __forceinline__ static void unpack(uint32_t bits, float (&values)[2]) {
    values[0] = bits_as<float>(bits << 16);
    values[1] = bits_as<float>(bits & 0xffff0000u);
  }
  __device__ __forceinline__ static uint32_t pack(const float (&values)[2]) {
    return bits_as<uint32_t>(__floats2bfloat162_rn(values[0], values[1]));
  }
  __device__ __forceinline__ static void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::multiply_bf16(c, a, b);
  }
};

struct Float16 {
  using Element = __half;
  static constexpr bool kTensorCores = true;
  static constexpr int kDepth = 16;
  __device__ __forceinline__ static float to_float(Element value) { return __half2float(value); }
  __device__ __forceinline__ static Element from_float(float value) { return __float2half_rn(value); }
  __device__ __forceinline__ static void unpack(uint32_t bits, float (&values)[2]) {
    const float2 pair = __half22float2(bits_as<__half2>(bits));
    values[0] = pair.x;
    values[1] = pair.y;
  }
  __device__ __forceinline__ static uint32_t pack(const float (&values)[2]) {
    return bits_as<uint32_t>(__floats2half2_rn(values[0], values[1]));
  }
  __device__ __forceinline__ static void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::multiply_half(c, a, b);
  }
};

/// float32 in memory, products of operands rounded to TF32.
struct TensorFloat32 {
  using Element = float;
  static constexpr bool kTensorCores = true;
  static constexpr int kDepth = 8;
  __device__ __forceinline__ static float to_float(float value) { return value; }
  __device__ __forceinline__ static float from_float(float value) { return value; }
  __device__ __forceinline__ static void unpack(uint32_t bits, float (&values)[1]) { values[0] = bits_as<float>(bits); }
  __device__ __forceinline__ static uint32_t pack(const float (&values)[1]) { return ptx::round_to_tf32(values[0]); }
  __device__ __forceinline__ static void multiply(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    ptx::multiply_tf32(c, a, b);
  }
};

/// float32 throughout, without tensor cores.
struct Float32 {
  using Element = float;
  static constexpr bool kTensorCores = false;
  static constexpr int kDepth = 8;
  __device__ __forceinline__ static float to_float(float value) { return value; }
  __device__ __forceinline__ static float from_float(float value) { return value; }
};

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
auto with_precision(bool exact, const Launch& launch) {
  if (exact) return launch.template operator()<typename PrecisionOf<Element, true>::type>();
  return launch.template operator()<typename PrecisionOf<Element, false>::type>();
}

}  // namespace respeft::cuda
