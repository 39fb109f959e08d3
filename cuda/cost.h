#pragma once

#include <array>
#include <cstdint>
#include <span>

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

/// One kernel's time: the largest of three limits, after the launch.
struct KernelCost {
  const char* what;
  double compute;  ///< the SM with the most blocks, at the rate that real kernels reach
  double memory;   ///< every byte once, from and to DRAM, or L2 where the kernel before has just left it there; or all that tiles
                   ///< read again and again through L2
  double latency;  ///< the steps of a block, one after the other
  double bytes, flops;

  double time() const;
  const char* limit() const;  ///< "compute", "memory", "latency" or "launch": the largest part
};

/// Kernels one after the other.
struct Cost {
  std::array<KernelCost, 9> kernels = {};
  int count = 0;

  double time() const;
  Cost& then(const KernelCost& kernel);
};

/// A product [rows, depth] · [depth, columns].
struct ProductSize {
  int64_t rows, columns, depth;
};

/// x W'ᵀ with the weight rescaled in the kernel, or W' written first and multiplied by the vendor's library.
Cost fused_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);
Cost two_step_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// The scales' gradients from G `[rows, columns]`, summed over `depth` tokens: tile by tile, or as ATen composes them (G written,
/// multiplied with W, reduced along either side; the bias's gradient by itself).
Cost fused_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);
Cost composed_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

/// A thin product plus what is added to it: ours, or the vendor's product and an addition where there is one.
Cost fused_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);
Cost composed_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds);

/// The base's product with an update of `rank` in its accumulators, or the vendor's product and one for each of
/// `groups` that adds to its output.
Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank);
Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank,
                              int64_t groups);

/// W + scaling · up down, `[rows, columns]` with the rank as depth: in one pass, or a copy and a product that adds to it.
Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);
Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size);

}  // namespace respeft::cuda
