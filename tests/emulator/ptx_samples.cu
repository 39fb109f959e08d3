#include "cuda/ptx.cuh"
#include "tests/emulator/ptx_samples.h"

/// One kernel for each family of instructions, and one for each fault (with its correction) that the checker must find in PTX.
namespace samples {

template <class T>
__global__ void integer_arithmetic(const T* a, const T* b, const int* shift, T* out) {
  const int i = threadIdx.x;
  integers(a[i], b[i], shift[i], out + i * kIntegerResults);
}
template __global__ void integer_arithmetic(const int16_t*, const int16_t*, const int*, int16_t*);
template __global__ void integer_arithmetic(const uint16_t*, const uint16_t*, const int*, uint16_t*);
template __global__ void integer_arithmetic(const int32_t*, const int32_t*, const int*, int32_t*);
template __global__ void integer_arithmetic(const uint32_t*, const uint32_t*, const int*, uint32_t*);
template __global__ void integer_arithmetic(const int64_t*, const int64_t*, const int*, int64_t*);
template __global__ void integer_arithmetic(const uint64_t*, const uint64_t*, const int*, uint64_t*);

template <class T>
__global__ void float_arithmetic(const T* a, const T* b, const T* c, T* out) {
  const int i = threadIdx.x;
  floats(a[i], b[i], c[i], out + i * kFloatResults);
}
template __global__ void float_arithmetic(const float*, const float*, const float*, float*);
template __global__ void float_arithmetic(const double*, const double*, const double*, double*);

__global__ void convert(const float* x, double* out) {
  conversions(x[threadIdx.x], out + threadIdx.x * kConversions);
}

__global__ void narrow(const float* values, Bits16* out) {
  out[threadIdx.x] = narrowed(values[threadIdx.x]);
}

__global__ void round_to_tf32(const float* values, uint32_t* out) {
  out[threadIdx.x] = respeft::cuda::ptx::round_to_tf32(values[threadIdx.x]);
}

/// a b + c, a + b, max(a, b) and −a on pairs.
template <class Pair>
__global__ void pair_arithmetic(const Pair* a, const Pair* b, const Pair* c, Pair* out) {
  const int i = threadIdx.x;
  out[4 * i] = __hfma2(a[i], b[i], c[i]);
  out[4 * i + 1] = __hadd2(a[i], b[i]);
  out[4 * i + 2] = __hmax2(a[i], b[i]);
  out[4 * i + 3] = __hneg2(a[i]);
}
template __global__ void pair_arithmetic(const __half2*, const __half2*, const __half2*, __half2*);
template __global__ void pair_arithmetic(const __nv_bfloat162*, const __nv_bfloat162*, const __nv_bfloat162*, __nv_bfloat162*);

__global__ void bits(const uint32_t* a, const uint32_t* b, uint32_t* out) {
  const uint32_t x = a[threadIdx.x], y = b[threadIdx.x];
  uint32_t* const to = out + threadIdx.x * 16;
  to[0] = __byte_perm(x, y, 0x6240);
  to[1] = __funnelshift_l(x, y, y & 31);
  to[2] = __funnelshift_rc(x, y, y & 63);
  to[3] = __popc(x);
  to[4] = __clz(x);
  to[5] = __brev(x);
  to[6] = __umulhi(x, y);
  to[7] = __mulhi(static_cast<int>(x), static_cast<int>(y));
  asm("bfe.u32 %0, %1, 5, 9;" : "=r"(to[8]) : "r"(x));
  asm("bfe.s32 %0, %1, 5, 9;" : "=r"(to[9]) : "r"(x));
  asm("bfi.b32 %0, %1, %2, 7, 12;" : "=r"(to[10]) : "r"(x), "r"(y));
  asm("lop3.b32 %0, %1, %2, %1, 0xe8;" : "=r"(to[11]) : "r"(x), "r"(y));
  asm("mad.hi.u32 %0, %1, %2, %1;" : "=r"(to[12]) : "r"(x), "r"(y));
  asm("{ .reg .b64 sum, one; cvt.u64.u32 one, 1; mad.wide.s32 sum, %1, %2, one; cvt.u32.u64 %0, sum; }"
      : "=r"(to[13])
      : "r"(x), "r"(y));
  asm("{ .reg .b8 p, q, r, s; .reg .b32 t; mov.b32 {p, q, r, s}, %1; mov.b32 t, {s, r, q, p}; mov.b32 %0, t; }"
      : "=r"(to[14])
      : "r"(x));
  asm("cvt.rzi.s32.f32 %0, %1;" : "=r"(to[15]) : "f"(x == 0 ? __int_as_float(0x7fc00000) : static_cast<float>(x)));
}

__global__ void approximations(const float* values, float* out) {
  const float x = values[threadIdx.x];
  float* const to = out + threadIdx.x * 6;
  to[0] = exp2f(x);
  to[1] = rsqrtf(x);
  to[2] = __fdividef(1.0f, x);
  to[3] = __log2f(x);
  to[4] = __sinf(x);
  to[5] = __expf(x);
}

__global__ void control_flow(const unsigned* values, const int* keys, int* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = steps_to_one(values[i]);
  out[i] += choice(keys[i], static_cast<int>(values[i]));
}

__global__ void scale(const Parameters p) {
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x)
    for (int64_t column = threadIdx.x; column < p.columns; column += blockDim.x)
      p.to[row * p.columns + (p.reverse ? p.columns - 1 - column : column)] =
          p.from[row * p.columns + column] * p.factors[row % 4];
}

__constant__ int table[4] = {5, -7, 11, 13};
__device__ int counter = 40;

__global__ void spaces(const signed char* bytes, const uint4* vectors, const double2* doubles, uint4* out, double2* doubles_out,
                       int index) {
  const int i = threadIdx.x;
  int local[8];
  for (int n = 0; n < 8; ++n) local[n] = bytes[i] * n;
  const uint4 vector = __ldcs(vectors + i);
  __stcs(out + 2 * i, make_uint4(vector.w, vector.z, vector.y, vector.x));
  out[2 * i + 1] = make_uint4(local[(index + i) % 8], table[i % 4], bytes[i], atomicAdd(&counter, 1));
  doubles_out[i] = make_double2(__ldg(doubles + i).y, static_cast<unsigned char>(bytes[i]));
}

/// Every block's values backwards, through static and dynamic shared memory.
__global__ void reverse(const int* from, int* to) {
  RESPEFT_DYNAMIC_SHARED(dynamic);
  __shared__ int fixed[64];
  int* const second = reinterpret_cast<int*>(dynamic);
  const int thread = threadIdx.x, threads = blockDim.x;
  fixed[thread] = from[blockIdx.x * threads + thread];
  __syncthreads();
  second[threads - 1 - thread] = fixed[thread];
  __syncthreads();
  to[blockIdx.x * threads + thread] = second[thread];
}

__global__ void atomics(int* sums, unsigned* extremes, float* total, unsigned long long* large, double* exact) {
  const int thread = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(sums + thread % 3, thread);
  atomicMin(sums + 3, -thread);
  atomicMax(extremes, static_cast<unsigned>(thread));
  atomicOr(extremes + 1, 1u << thread % 32);
  atomicAnd(extremes + 2, ~(1u << thread % 16));
  atomicXor(extremes + 3, 1u << thread % 8);
  atomicAdd(total, 0.5f);
  atomicAdd(large, 1ull << 33);
  atomicAdd(exact, 0.25);
  for (unsigned old = 0, seen; (seen = atomicCAS(extremes + 4, old, old + 2)) != old;) old = seen;
  atomicExch(extremes + 5, 7u);
}

__global__ void warps(Warp* out) {
  const int lane = threadIdx.x % 32;
  Warp warp;
  warp.index = __shfl_sync(~0u, lane, 5);
  warp.up = __shfl_up_sync(~0u, lane, 3);
  warp.down = __shfl_down_sync(~0u, lane, 3);
  warp.exclusive_or = __shfl_xor_sync(~0u, lane, 9);
  warp.segment = __shfl_sync(~0u, lane, 3, 8);
  warp.ballot = __ballot_sync(~0u, lane % 3 == 0);
  warp.reduced = __reduce_add_sync(~0u, static_cast<unsigned>(lane));
  warp.active = __activemask();
  warp.largest = __reduce_max_sync(~0u, lane - 40);
  warp.any = __any_sync(~0u, lane == 50);
  warp.all = __all_sync(~0u, lane < 50);
  warp.count = __syncthreads_count(threadIdx.x % 5 == 0);
  warp.block_and = __syncthreads_and(threadIdx.x < 63);
  warp.block_or = __syncthreads_or(threadIdx.x == 63);
  out[threadIdx.x] = warp;
}

/// Thread t copies t % 17 bytes of its 16.
__global__ void copy_parts(const uint4* from, uint4* to) {
  __shared__ uint4 parts[32];
  respeft::cuda::ptx::copy_async(parts + threadIdx.x, from + threadIdx.x, threadIdx.x % 17);
  respeft::cuda::ptx::commit_copies();
  respeft::cuda::ptx::wait_for_copies<0>();
  to[threadIdx.x] = parts[threadIdx.x];
}

template <bool Transposed>
__global__ void load_tiles(const uint4* rows, uint4* out) {
  __shared__ uint4 tile[32];
  tile[threadIdx.x] = rows[threadIdx.x];
  __syncwarp();
  uint32_t held[4];
  Transposed ? respeft::cuda::ptx::load_tiles_transposed(held, tile + threadIdx.x)
             : respeft::cuda::ptx::load_tiles(held, tile + threadIdx.x);
  out[threadIdx.x] = make_uint4(held[0], held[1], held[2], held[3]);
}
template __global__ void load_tiles<false>(const uint4*, uint4*);
template __global__ void load_tiles<true>(const uint4*, uint4*);

/// `Type` 0: bfloat16, 1: float16, 2: TF32.
template <int Type>
__global__ void multiply(const uint4* a, const uint2* b, float4* c) {
  const uint4 left = a[threadIdx.x];
  const uint2 right = b[threadIdx.x];
  const uint32_t as[4] = {left.x, left.y, left.z, left.w}, bs[2] = {right.x, right.y};
  const float4 sum = c[threadIdx.x];
  float cs[4] = {sum.x, sum.y, sum.z, sum.w};
  if (Type == 0) respeft::cuda::ptx::multiply_bf16(cs, as, bs);
  if (Type == 1) respeft::cuda::ptx::multiply_half(cs, as, bs);
  if (Type == 2) respeft::cuda::ptx::multiply_tf32(cs, as, bs);
  c[threadIdx.x] = make_float4(cs[0], cs[1], cs[2], cs[3]);
}
template __global__ void multiply<0>(const uint4*, const uint2*, float4*);
template __global__ void multiply<1>(const uint4*, const uint2*, float4*);
template __global__ void multiply<2>(const uint4*, const uint2*, float4*);

// Faults, each with its correction.

template <bool Correct>
__global__ void barrier_fault(int* to) {
  __shared__ int values[64];
  values[threadIdx.x] = threadIdx.x;
  if (Correct) __syncthreads();
  to[threadIdx.x] = values[63 - threadIdx.x];
}
template <bool Correct>
__global__ void bounds_fault(int* to, int size) {
  if (static_cast<int>(threadIdx.x) < size + !Correct) to[threadIdx.x] = 1;
}
template <bool Correct>
__global__ void shared_bounds_fault(int* to) {
  __shared__ int values[64];
  values[threadIdx.x] = 1;
  __syncthreads();
  to[threadIdx.x] = values[(threadIdx.x + 1) % (Correct ? 64 : 65)];
}
template <bool Correct>
__global__ void tile_bounds_fault(int* to) {
  __shared__ uint4 tiles[64];
  tiles[threadIdx.x] = make_uint4(1, 2, 3, 4);
  __syncthreads();
  uint32_t held[4];
  respeft::cuda::ptx::load_tiles(held, tiles + threadIdx.x + !Correct);
  to[threadIdx.x] = held[3];
}
template <bool Correct>
__global__ void initial_fault(int* to) {
  __shared__ int values[65];
  values[threadIdx.x] = 1;
  if (Correct && threadIdx.x == 0) values[64] = 1;
  __syncthreads();
  to[threadIdx.x] = values[threadIdx.x + 1];
}
__device__ __forceinline__ float sum_of_four(const float* from) {
  const float4 values = *reinterpret_cast<const float4*>(from);
  return values.x + values.y + values.z + values.w;
}
template <bool Correct>
__global__ void alignment_fault(const float* from, float* to) {
  to[threadIdx.x] = sum_of_four(from + threadIdx.x * 4 + (Correct ? 0 : 1));
}
template <bool Correct>
__global__ void wait_fault(const uint4* from, uint4* to) {
  __shared__ uint4 values[64];
  respeft::cuda::ptx::copy_async(values + threadIdx.x, from + threadIdx.x, 16);
  respeft::cuda::ptx::commit_copies();
  if (Correct) respeft::cuda::ptx::wait_for_copies<0>();
  to[threadIdx.x] = values[threadIdx.x];
}
template <bool Correct>
__global__ void divergence_fault(int* to) {
  if (Correct || threadIdx.x < 32) __syncthreads();
  to[threadIdx.x] = 1;
}

#define BOTH(kernel, ...)                              \
  template __global__ void kernel<false>(__VA_ARGS__); \
  template __global__ void kernel<true>(__VA_ARGS__);
BOTH(barrier_fault, int*)
BOTH(bounds_fault, int*, int)
BOTH(shared_bounds_fault, int*)
BOTH(tile_bounds_fault, int*)
BOTH(initial_fault, int*)
BOTH(alignment_fault, const float*, float*)
BOTH(wait_fault, const uint4*, uint4*)
BOTH(divergence_fault, int*)

__global__ void __launch_bounds__(64) bounded(int* to) {
  to[threadIdx.x] = 1;
}

}  // namespace samples
