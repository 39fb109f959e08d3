#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <limits>

#include "tests/emulator/ptx_decoder.h"

/// How PTX's number types are computed with on the host: `Bits` is what a register holds, `Value` what the arithmetic is done in.
namespace emulator::ptx {

/// a + b rounded to odd: rounding that to at most 51 bits gives what rounding the exact sum would.
inline double add_to_odd(double a, double b) {
  const double sum = a + b, rest = sum - a, error = (a - (sum - rest)) + (b - rest);
  if (!std::isfinite(sum) || error == 0 || (std::bit_cast<uint64_t>(sum) & 1)) return sum;
  return std::nextafter(sum, error > 0 ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity());
}

template <class T>
struct Native {
  using Bits = T;
  using Value = T;
  static T decode(T bits) { return bits; }
  static T encode(T value) { return value; }
  static T add(T a, T b) { return a + b; }
  static T fma(T a, T b, T c) { return std::fma(a, b, c); }
};
using Single = Native<float>;
using Double = Native<double>;

/// float32 with .ftz: subnormal operands and results are zeros.
struct Flushed : Single {
  static float flush(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }
  static float decode(float bits) { return flush(bits); }
  static float encode(float value) { return flush(value); }
};

/// 16 bits, computed in float64 and rounded once.
template <class Stored, class Raw, Stored (*Round)(double), float (*Widen)(Stored)>
struct Short {
  using Bits = uint16_t;
  using Value = double;
  static double decode(uint16_t bits) { return Widen(Stored(Raw{bits})); }
  static uint16_t encode(double value) { return static_cast<Raw>(Round(value)).x; }
  static double add(double a, double b) { return add_to_odd(a, b); }
  static double fma(double a, double b, double c) { return add_to_odd(a * b, c); }
};
using Half = Short<__half, __half_raw, __double2half, __half2float>;
using BFloat = Short<__nv_bfloat16, __nv_bfloat16_raw, __double2bfloat16, __bfloat162float>;

/// make<T>() for the C++ type of an integer type, or nullptr.
template <class Make>
Handler for_integer(Type type, const Make& make) {
  if (type.is_float() || type.kind == Type::Kind::Tf32) return nullptr;
  const bool is_signed = type.kind == Type::Kind::Signed;
  switch (type.bits) {
    case 1:
    case 8:
      return is_signed ? make.template operator()<int8_t>() : make.template operator()<uint8_t>();
    case 16:
      return is_signed ? make.template operator()<int16_t>() : make.template operator()<uint16_t>();
    case 32:
      return is_signed ? make.template operator()<int32_t>() : make.template operator()<uint32_t>();
    case 64:
      return is_signed ? make.template operator()<int64_t>() : make.template operator()<uint64_t>();
    default:
      return nullptr;
  }
}

/// make<Number>() for a type of floating-point numbers, or nullptr.
template <class Make>
Handler for_float(Type type, bool flush, const Make& make) {
  if (type.kind == Type::Kind::Float && type.bits == 32)
    return flush ? make.template operator()<Flushed>() : make.template operator()<Single>();
  if (flush || !type.is_float()) return nullptr;
  if (type.kind == Type::Kind::BFloat) return make.template operator()<BFloat>();
  return type.bits == 64 ? make.template operator()<Double>() : make.template operator()<Half>();
}

}  // namespace emulator::ptx
