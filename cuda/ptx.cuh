#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

/// The PTX instructions that CUDA C++ has no function for. The only file with inline assembly: the tests run the kernels on a
/// CPU with another file in this one's place.

/// The block's dynamic shared memory, as `unsigned char* name`.
#define RESPEFT_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace respeft::cuda::ptx {

__device__ __forceinline__ uint32_t shared_address(const void* shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/// Starts copying 16 bytes from global to shared memory, past the registers: the first `bytes` of them (0 to 16), zeros after.
/// Both addresses are multiples of 16; where `bytes` is 0 nothing is read, wherever `global` points.
__device__ __forceinline__ void copy_async(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes) : "memory");
}

/// Ends a group of copies.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}

/// Waits until at most `Pending` of this thread's groups are unfinished. Other threads see them after a barrier.
template <int Pending>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Reads and writes 16 bytes of global memory, whose address is a multiple of 16. (The compiler takes an access of a C++ type
/// apart where the other branch goes element by element.)
__device__ __forceinline__ uint4 load_16_bytes(const void* global) {
  uint4 value;
  asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(global));
  return value;
}
__device__ __forceinline__ void store_16_bytes(void* global, const uint4& value) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(global), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w)
               : "memory");
}

/// Loads four 8 × 8 tiles of 16-bit elements from shared memory. Lane l gives the address of row l % 8 of tile l / 8, a multiple
/// of 16; register t of lane l receives the elements (l / 4, 2 (l % 4)) and the next of tile t.
__device__ __forceinline__ void load_tiles(uint32_t (&tiles)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(shared_address(row))
               : "memory");
}

/// The same, every tile transposed: lane l receives the elements (2 (l % 4), l / 4) and the one below.
__device__ __forceinline__ void load_tiles_transposed(uint32_t (&tiles)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(shared_address(row))
               : "memory");
}

/// `value` rounded to TF32 (10 bits of mantissa, ties away from zero), as the bits of a float.
__device__ __forceinline__ uint32_t round_to_tf32(float value) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

/// c += a b on the tensor cores, over the warp: a [16, 16], b [16, 8], c [16, 8]. With g = lane / 4 and t = lane % 4, lane holds
/// a: (g, 2t), (g + 8, 2t), (g, 2t + 8), (g + 8, 2t + 8), and the element to the right of each;
/// b: (2t, g), (2t + 8, g), and the element below each;  c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ __forceinline__ void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// The same for float16.
__device__ __forceinline__ void multiply_half(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// c += a b with TF32 operands: a [16, 8], b [8, 8], c [16, 8]. Lane holds a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4);
/// b: (t, g), (t + 4, g);  c as above.
__device__ __forceinline__ void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace respeft::cuda::ptx
