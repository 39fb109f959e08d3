#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

/// What the sample kernels compute, for the GPU's compiler and for the host's: the tests compare the two.
namespace samples {

constexpr int kIntegerResults = 24;

/// `shift` is less than the bits of T; b is not 0.
template <class T>
__host__ __device__ inline void integers(T a, T b, int shift, T* out) {
  int n = 0;
  for (const T value :
       {T(a + b), T(a - b), T(a * b), T(a / b), T(a % b), T(a & b), T(a | b), T(a ^ b), T(~a), T(-a), T(a * b + a)})
    out[n++] = value;
  out[n++] = T(a << shift);
  out[n++] = T(a >> shift);
  out[n++] = a < b ? a : b;
  out[n++] = a > b ? a : b;
  out[n++] = std::is_signed_v<T> && a < b ? T(-a) : a;
  for (const bool value : {a == b, a != b, a<b, a <= b, a> b, a >= b, a < b && b > T(3), a > b || b == T(5)}) out[n++] = T(value);
}

constexpr int kFloatResults = 32;

template <class T>
__host__ __device__ inline void floats(T a, T b, T c, T* out) {
  int n = 0;
  for (const T value : {a + b, a - b, a * b, a / b, T(1) / b, -a}) out[n++] = value;
  out[n++] = std::fma(a, b, c);
  out[n++] = std::sqrt(a);
  out[n++] = std::fabs(a);
  out[n++] = std::fmin(a, b);
  out[n++] = std::fmax(a, b);
  out[n++] = std::floor(a);
  out[n++] = std::ceil(a);
  out[n++] = std::trunc(a);
  out[n++] = std::rint(a);
  for (const bool value :
       {a == b, a != b, a<b, a <= b, a> b, a >= b, !(a < b), !(a <= b), !(a > b), !(a >= b), a != a, !(a != b)})
    out[n++] = T(value);
  out[n++] = static_cast<T>(static_cast<float>(a));
  out[n++] = static_cast<T>(static_cast<double>(b));
  out[n++] = a < b ? b : c;
  for (; n < kFloatResults; ++n) out[n] = T(n);
}

constexpr int kConversions = 14;

/// |x| < 100; results that are whole numbers or floats, as doubles.
__host__ __device__ inline void conversions(float x, double* out) {
  int n = 0;
  const double y = x * 1.0e6;
  const float positive = std::fabs(x);
  out[n++] = static_cast<int8_t>(x);
  out[n++] = static_cast<int16_t>(x);
  out[n++] = static_cast<int>(x);
  out[n++] = static_cast<int>(y);
  out[n++] = static_cast<unsigned>(positive);
  out[n++] = static_cast<double>(static_cast<int64_t>(y));
  out[n++] = static_cast<double>(static_cast<uint64_t>(positive * 1.0e12f));
  out[n++] = static_cast<float>(static_cast<int>(y));
  out[n++] = static_cast<float>(static_cast<int64_t>(y) * 1000003);
  out[n++] = static_cast<float>(static_cast<unsigned>(positive) + 0xfffffff0u);
  out[n++] = static_cast<double>(static_cast<int64_t>(y) * 1000000007);
  out[n++] = static_cast<float>(y);
  out[n++] = static_cast<double>(static_cast<int8_t>(static_cast<int>(y)));
  out[n++] = static_cast<double>(static_cast<uint16_t>(static_cast<int>(y)));
}

struct Bits16 {
  uint16_t half, bfloat, half_back, bfloat_back;
  float from_half, from_bfloat;
};

__host__ __device__ inline Bits16 narrowed(float value) {
  const __half half = __float2half_rn(value);
  const __nv_bfloat16 bfloat = __float2bfloat16_rn(value);
  const __half2 halves = __floats2half2_rn(1.0f, value);
  const __nv_bfloat162 bfloats = __floats2bfloat162_rn(1.0f, value);
  return {__half_as_ushort(half),          __bfloat16_as_ushort(bfloat), __half_as_ushort(halves.y),
          __bfloat16_as_ushort(bfloats.y), __half2float(half),           __bfloat162float(bfloat)};
}

/// A parameter as the project's kernels have them: one struct.
struct Parameters {
  const float* from;
  float* to;
  int64_t rows, columns;
  float factors[4];
  bool reverse;
};

__host__ __device__ inline int steps_to_one(unsigned value) {
  int steps = 0;
  for (; value > 1; ++steps) value = value % 2 ? 3 * value + 1 : value / 2;
  return steps;
}

__host__ __device__ inline int choice(int key, int value) {
  switch (key) {
    case 0:
      return value * 3;
    case 1:
      return value + 17;
    case 2:
      return value ^ 0x55;
    case 3:
      return -value;
    case 4:
      return value / 7;
    case 5:
      return value % 11;
    case 6:
      return value << 3;
    default:
      return value & 0xff;
  }
}

struct Warp {
  int index, up, down, exclusive_or, segment;
  unsigned ballot, reduced, active;
  int largest, any, all, count, block_and, block_or;
};

}  // namespace samples
