#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

/// Launch parameters that the host computes. Plain C++, shared with the tests that run the kernels on a CPU.
namespace respeft::cuda {

// `exact` in the launchers: true computes float32 products of float32 operands, false rounds the operands to TF32. Other dtypes
// ignore it.

/// Direction of a product with a weight `[out, in]`: input times its transpose, or gradient times the weight.
enum class Direction { Forward, Backward };

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes;  ///< dynamic shared memory
};

constexpr int64_t ceil_divide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Number of tiles of `side` along a `length` of equal groups, if no tile spans two groups.
constexpr int64_t tiles_in_groups(int64_t length, int64_t groups, int64_t side) {
  return groups * ceil_divide(length / groups, side);
}

/// Shape of a block's tile: its sides, the depth and number of the pipeline's stages, the part of each warp, and the number of
/// threads. Each kernel's is next to its parameters.
struct Cut {
  int rows, columns, depth_bytes, stages, warp_rows, warp_columns, threads;
};

/// True if rows of `stride` elements from `data` on can be read 16 bytes at a time, from any multiple of 16 bytes within a row.
/// `starts` are further element offsets within a row at which a tile may begin.
template <class Element>
bool reads_by_16_bytes(const Element* data, int64_t stride, std::initializer_list<int64_t> starts = {}) {
  constexpr int64_t unit = 16 / sizeof(Element);
  bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % unit == 0;
  for (const auto start : starts) aligned = aligned && start % unit == 0;
  return aligned;
}

}  // namespace respeft::cuda
