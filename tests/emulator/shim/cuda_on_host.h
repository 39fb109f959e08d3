#pragma once

/// What nvcc knows without an include, for kernels that the host's compiler compiles: to be included before them
/// (`-include cuda_on_host.h`). The toolkit's own headers give the vector types and the 16-bit floats.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <vector_functions.h>
#include <vector_types.h>

#include "tests/emulator/device.h"

#define __launch_bounds__(...)
/// Blocks run one after the other on one thread of the host. That the variables are in its thread-local memory tells the checker
/// that they are shared. Alignment is given by `__align__`, which may follow it.
#undef __shared__
#define __shared__ static thread_local

#define threadIdx (::emulator::device::thread_index())
#define blockIdx (::emulator::device::block_index())
#define blockDim (::emulator::device::block_size())
#define gridDim (::emulator::device::grid_size())

#define EMULATOR_HERE std::source_location here = std::source_location::current()

// ---- barriers, votes, shuffles

inline void __syncthreads(EMULATOR_HERE) {
  emulator::device::block_barrier(here);
}
inline int __syncthreads_count(int predicate, EMULATOR_HERE) {
  return emulator::device::block_vote(predicate != 0, emulator::device::Vote::Count, here);
}
inline int __syncthreads_and(int predicate, EMULATOR_HERE) {
  return emulator::device::block_vote(predicate != 0, emulator::device::Vote::All, here);
}
inline int __syncthreads_or(int predicate, EMULATOR_HERE) {
  return emulator::device::block_vote(predicate != 0, emulator::device::Vote::Any, here);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_HERE) {
  emulator::device::warp_barrier(mask, here);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_HERE) {
  return emulator::device::ballot(mask, predicate != 0, here);
}
inline int __any_sync(unsigned mask, int predicate, EMULATOR_HERE) {
  return __ballot_sync(mask, predicate, here) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMULATOR_HERE) {
  return __ballot_sync(mask, predicate, here) == mask;
}

namespace emulator::shim {

template <class T>
T shuffle(device::Shuffle kind, unsigned mask, T value, int operand, int width, std::source_location here) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, static_cast<const void*>(&value), sizeof(T));
  bits = device::shuffle(kind, mask, bits, operand, width, here);
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}

template <class T>
uint32_t reduce(device::Reduction unsigned_kind, device::Reduction signed_kind, unsigned mask, T value,
                std::source_location here) {
  static_assert(std::is_integral_v<T> && sizeof(T) == sizeof(uint32_t));
  return device::reduce(std::is_signed_v<T> ? signed_kind : unsigned_kind, mask, static_cast<uint32_t>(value), here);
}

/// Replaces *target by change(*target) and returns what it was. Atomic, since no other thread goes on before the end: the runtime
/// switches threads only at accesses to memory that is not a thread's own.
template <class T, class Change>
T update(T* target, const Change& change, std::source_location here) {
  device::touch(target, sizeof(T), device::Access::Atomic, here, sizeof(T));
  T before;
  device::copy_unchecked(&before, target, sizeof(T));
  const T after = change(before);
  device::copy_unchecked(target, &after, sizeof(T));
  return before;
}

}  // namespace emulator::shim

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATOR_HERE) {
  return emulator::shim::shuffle(emulator::device::Shuffle::Index, mask, value, lane, width, here);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_HERE) {
  return emulator::shim::shuffle(emulator::device::Shuffle::Up, mask, value, static_cast<int>(delta), width, here);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_HERE) {
  return emulator::shim::shuffle(emulator::device::Shuffle::Down, mask, value, static_cast<int>(delta), width, here);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMULATOR_HERE) {
  return emulator::shim::shuffle(emulator::device::Shuffle::Xor, mask, value, lanes, width, here);
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, EMULATOR_HERE) {
  using emulator::device::Reduction;
  return static_cast<T>(emulator::shim::reduce(Reduction::Add, Reduction::Add, mask, value, here));
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, EMULATOR_HERE) {
  using emulator::device::Reduction;
  return static_cast<T>(emulator::shim::reduce(Reduction::Max, Reduction::MaxSigned, mask, value, here));
}

// ---- memory

template <class T>
T atomicAdd(T* target, std::type_identity_t<T> value, EMULATOR_HERE) {
  return emulator::shim::update(
      target, [value](T before) { return T(before + value); }, here);
}
template <class T>
T atomicMin(T* target, std::type_identity_t<T> value, EMULATOR_HERE) {
  return emulator::shim::update(
      target, [value](T before) { return value < before ? value : before; }, here);
}
template <class T>
T atomicMax(T* target, std::type_identity_t<T> value, EMULATOR_HERE) {
  return emulator::shim::update(
      target, [value](T before) { return before < value ? value : before; }, here);
}
template <class T>
T atomicExch(T* target, std::type_identity_t<T> value, EMULATOR_HERE) {
  return emulator::shim::update(
      target, [value](T) { return value; }, here);
}
template <class T>
T atomicCAS(T* target, std::type_identity_t<T> expected, std::type_identity_t<T> value, EMULATOR_HERE) {
  return emulator::shim::update(
      target, [=](T before) { return before == expected ? value : before; }, here);
}

// Always inline: the checker then sees the access in the kernel's line.
template <class T>
[[gnu::always_inline]] inline T __ldg(const T* source) {
  return *source;
}

// ---- arithmetic that the standard library does not have, or has in a namespace

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmin(a, b);
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmax(a, b);
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(static_cast<unsigned>(x));
}
inline int __ffs(int x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1;
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
