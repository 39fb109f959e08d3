#pragma once

#include <vector_types.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

/// What the host decides about a launch; plain C++, shared with the tests that run the kernels on a CPU.
namespace respeft::cuda {

// `exact`, in the launchers: float32 products of float32 operands; otherwise the operands are rounded to TF32. Other
// dtypes ignore it.

/// Of a product with a weight `[out, in]`: input times its transpose, or gradient times itself.
enum class Direction { Forward, Backward };

struct LaunchShape {
  dim3 grid, block;
  size_t shared_bytes;  ///< of dynamic shared memory
};

constexpr int64_t ceil_divide(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

/// Tiles of `side` along a `length` that is divided into equal groups, where no tile has parts of two.
constexpr int64_t tiles_in_groups(int64_t length, int64_t groups, int64_t side) {
  return groups * ceil_divide(length / groups, side);
}

/// How a block computes a tile of a product: its sides, the depth and number of the pipeline's steps, the part of a warp, and the
/// threads. The kernels' are beside their parameters.
struct Cut {
  int rows, columns, depth_bytes, stages, warp_rows, warp_columns, threads;
};

/// Whether rows of `stride` elements that start at `data` can be read 16 bytes at a time, beginning at any multiple of
/// 16 bytes within a row; `starts` are further element offsets within a row at which a tile may begin.
template <class Element>
bool reads_by_16_bytes(const Element* data, int64_t stride, std::initializer_list<int64_t> starts = {}) {
  constexpr int64_t unit = 16 / sizeof(Element);
  bool aligned = reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % unit == 0;
  for (const auto start : starts) aligned = aligned && start % unit == 0;
  return aligned;
}

}  // namespace respeft::cuda
