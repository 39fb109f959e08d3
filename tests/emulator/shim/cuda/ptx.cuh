#pragma once

#include "tests/emulator/shim/cuda_on_host.h"

/// The functions of the project's own cuda/ptx.cuh, which explains them, on the emulator. It is found first when kernels are
/// compiled for the host.

/// The block's dynamic shared memory, as `unsigned char* name`.
#define RESPEFT_DYNAMIC_SHARED(name) unsigned char* const name = ::emulator::device::dynamic_shared()

namespace respeft::cuda::ptx {

/// Starts copying 16 bytes to shared memory, the first `bytes` of them from global memory, zeros after.
inline void copy_async(void* shared, const void* global, int bytes, EMULATOR_HERE) {
  emulator::device::copy_async(shared, global, 16, bytes, here);
}

/// Ends a group of copies.
inline void commit_copies() {
  emulator::device::commit_copies();
}

/// Waits until at most `Pending` of this thread's groups are unfinished.
template <int Pending>
inline void wait_for_copies() {
  emulator::device::wait_for_copies(Pending);
}

/// Reads and writes 16 bytes of global memory.
inline uint4 load_16_bytes(const void* global, EMULATOR_HERE) {
  emulator::device::expect_global(global, here);
  return *static_cast<const uint4*>(global);
}
inline void store_16_bytes(void* global, const uint4& value, EMULATOR_HERE) {
  emulator::device::expect_global(global, here);
  *static_cast<uint4*>(global) = value;
}

/// Loads four 8 × 8 tiles of 16-bit elements; lane l gives the address of row l % 8 of tile l / 8.
inline void load_tiles(uint32_t (&tiles)[4], const void* row, EMULATOR_HERE) {
  emulator::device::load_tiles(tiles, row, false, here);
}

/// The same, every tile transposed.
inline void load_tiles_transposed(uint32_t (&tiles)[4], const void* row, EMULATOR_HERE) {
  emulator::device::load_tiles(tiles, row, true, here);
}

/// `value` rounded to TF32 (10 bits of mantissa, ties away from zero), as the bits of a float.
inline uint32_t round_to_tf32(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  constexpr uint32_t kHalf = 0x1000u, kDropped = 0x1fffu;
  if (!std::isfinite(value)) return std::isnan(value) ? 0x7fffffffu : bits;
  return (bits + kHalf) & ~kDropped;
}

/// c += a b on the tensor cores, a [16, 16], b [16, 8], c [16, 8] in bfloat16.
inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATOR_HERE) {
  emulator::device::multiply(emulator::device::Operand::BFloat16, c, a, b, here);
}

/// The same for float16.
inline void multiply_half(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATOR_HERE) {
  emulator::device::multiply(emulator::device::Operand::Half, c, a, b, here);
}

/// The same with TF32 operands, a [16, 8], b [8, 8], c [16, 8].
inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EMULATOR_HERE) {
  emulator::device::multiply(emulator::device::Operand::Tf32, c, a, b, here);
}

}  // namespace respeft::cuda::ptx
