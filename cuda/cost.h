#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "cuda/launch.h"
#include "cuda/shortcut.h"

/// Cost model of kernels on a GPU, from its published limits. Launchers choose between implementations with it, and docs/gpu.md
/// shows its predictions. Times are in microseconds.
namespace respeft::cuda {

/// Arithmetic of a product.
enum class Arithmetic { Half, Tf32, Float32 };  ///< Half: float16 or bfloat16

/// A GPU by its published limits.
struct Architecture {
  const char* name;
  int major, minor;    ///< compute capability
  int processors;      ///< streaming multiprocessors (SMs)
  double gigahertz;    ///< boost clock
  double mma_half;     ///< dense FLOP per clock and SM through `mma.sync`, 16-bit operands
  double vendor_half;  ///< the same through cuBLAS's instructions (wgmma, tcgen05)
  double float32;      ///< FLOP per clock and SM without tensor cores
  double dram, l2;     ///< bytes per microsecond
  int64_t l2_bytes;
};

std::span<const Architecture> architectures();

/// The architecture of a compute capability, or the newest known one below it, with the device's number of SMs.
Architecture architecture_of(int major, int minor, int processors);

/// One kernel's time: the largest of three limits, plus the launch and everything that does not overlap.
struct KernelCost {
  const char* what;
  double compute;  ///< of the SM with the most blocks, at the rate that real kernels reach
  double memory;   ///< traffic of DRAM (every byte once; L2 if the kernel before left the data there), or of the tiles through L2
  double latency;  ///< the steps of a block in sequence
  double once;     ///< the first loads and the epilogue
  double bytes, flops;

  double time() const;
  const char* limit() const;  ///< largest part: "compute", "memory", "latency", or "launch" (which includes `once`)
};

/// A sequence of kernels: at most one cuBLAS product for all groups and one for each, of two kernels each.
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

/// A product that rescales the weight in the kernel, or that writes W' first and multiplies it by cuBLAS. A tile or step of our
/// kernel never has rows of two of the weight's `groups`, which divide the product's columns (Forward) or its depth (Backward).
Cost fused_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1,
                            Direction direction = Direction::Forward);
Cost two_step_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// Gradients of the scales from G `[rows, columns]`, summed over `depth` tokens, for `groups` that divide the rows: tile by tile
/// in one kernel, or composed of ATen operators (write G, multiply it with W, reduce along both sides; the bias's gradient
/// apart).
Cost fused_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1);
Cost composed_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// A thin product plus an addend. `size` is that of one of the `groups`, whose results are side by side.
Cost fused_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups = 1);
/// The same without our kernel. Forward: a cuBLAS product, and an addition if `adds`.
Cost composed_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds);
/// Backward: a copy of the addend or zeros, and for each group a product that adds to its columns.
Cost composed_middle_gradient(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds, int64_t groups);

/// The base's product with the update in its accumulators, or a cuBLAS product and for each group another that adds to its
/// columns of the output.
Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups);
Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups);

/// W + scaling · up down, W `[rows, columns]`: in one pass, or a copy and for each group a product that adds to its rows.
Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups);
Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups);

/// Divides all rows of a weight into `count` equal groups, at most Groups::kMost.
Groups equal_groups(int64_t count, int64_t rows, int64_t rank);

// The same with equal groups of all rows. For a fold, the depth of `size` is the rank.

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
