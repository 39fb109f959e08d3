#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "cuda/launch.h"
#include "cuda/shortcut.h"

/// What kernels cost on a GPU, from its limits alone: how the launchers choose between ways of computing the same thing, and what
/// docs/gpu.md predicts. Times are in microseconds.
namespace respeft::cuda {

/// How the elements of a product are multiplied.
enum class Arithmetic { Half, Tf32, Float32 };  ///< Half: float16 or bfloat16

/// A GPU by its published limits.
struct Architecture {
  const char* name;
  int major, minor;    ///< compute capability
  int processors;      ///< streaming multiprocessors (SMs)
  double gigahertz;    ///< boost clock
  double mma_half;     ///< dense FLOP a clock and SM through `mma.sync`, 16-bit operands
  double vendor_half;  ///< the same through the instructions that the vendor's library uses (wgmma, tcgen05)
  double float32;      ///< FLOP a clock and SM without tensor cores
  double dram, l2;     ///< bytes a microsecond
  int64_t l2_bytes;
};

std::span<const Architecture> architectures();

/// The architecture of a compute capability, or the newest that is not newer; with the SMs that the device at hand has.
Architecture architecture_of(int major, int minor, int processors);

/// One kernel's time: the largest of three limits, after the launch and what is not overlapped with anything.
struct KernelCost {
  const char* what;
  double compute;  ///< the SM with the most blocks, at the rate that real kernels reach
  double memory;   ///< every byte once, from and to DRAM, or L2 where the kernel before has just left it there; or all that tiles
                   ///< read again and again through L2
  double latency;  ///< the steps of a block, one after the other
  double once;     ///< before and after them: the first loads, the epilogue
  double bytes, flops;

  double time() const;
  const char* limit() const;  ///< "compute", "memory", "latency", or "launch" for that and `once`: the largest part
};

/// Kernels one after the other: at most a product of the vendor's for all and one for each group, in two kernels each.
struct Cost {
  std::array<KernelCost, 2 * (1 + Groups::kMost)> kernels = {};
  int count = 0;

  double time() const;
  Cost& then(const KernelCost& kernel);
  Cost& then(const Cost& next);
};

/// A product [rows, depth] · [depth, columns].
struct ProductSize {
  int64_t rows, columns, depth;
};

/// A product with the weight rescaled in the kernel, or W' written first and multiplied by the vendor's library. No tile or step
/// of ours has rows of two of the weight's `groups`, which divide the product's columns (Forward) or its depth (Backward).
Cost fused_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1,
                            Direction direction = Direction::Forward);
Cost two_step_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// The scales' gradients from G `[rows, columns]`, summed over `depth` tokens, for `groups` that divide the rows: tile by tile,
/// or as ATen composes them (G written, multiplied with W, reduced along either side; the bias's gradient by itself).
Cost fused_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1);
Cost composed_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// A thin product plus what is added to it; `size` is that of one of `groups`, whose results lie side by side.
Cost fused_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1);
/// The same without our kernel. Forward: the vendor's product and an addition where there is one.
Cost composed_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds);
/// Backward: what is passed on copied, or zeros, and a product for each group that adds to its columns.
Cost composed_middle_gradient(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds, int64_t groups);

/// The base's product with an update in its accumulators, or the vendor's product and one for each of the groups that adds to its
/// columns of the output.
Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups);
Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups);

/// W + scaling · up down, W `[rows, columns]`: in one pass, or a copy and a product for each of the groups that adds to its rows.
Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups);
Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups);

/// All of a weight's rows in `count` groups, which are at most Groups::kMost.
Groups equal_groups(int64_t count, int64_t rows, int64_t rank);

// With equal groups of all rows; the depth of a fold's size is the rank.

inline Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank) {
  return fused_updated_product(gpu, arithmetic, size, equal_groups(1, size.columns, rank));
}
inline Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank,
                                     int64_t groups) {
  return composed_updated_product(gpu, arithmetic, size, equal_groups(groups, size.columns, rank));
}
inline Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  return fused_fold(gpu, arithmetic, size.rows, size.columns, equal_groups(1, size.rows, size.depth));
}
inline Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  return composed_fold(gpu, arithmetic, size.rows, size.columns, equal_groups(1, size.rows, size.depth));
}

}  // namespace respeft::cuda
