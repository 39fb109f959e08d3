#include "cuda/cost.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "cuda/launch.h"
#include "cuda/rescaled_linear.h"

namespace respeft::cuda {
namespace {

// From the vendor's data sheets (dense, without sparsity) and, for mma.sync on Hopper, "Benchmarking and Dissecting the Nvidia
// Hopper GPU Architecture" (Luo et al., 2024): 62 % of what wgmma reaches. For Blackwell's data-centre chip the same instruction
// is taken to run at Hopper's rate, for want of a figure.
constexpr std::array<Architecture, 6> kArchitectures = {{
    {"A100", 8, 0, 108, 1.410, 2048, 2048, 128, 2.04e6, 5.0e6, 40 << 20},
    {"RTX 3090", 8, 6, 82, 1.695, 512, 512, 256, 0.936e6, 2.5e6, 6 << 20},
    {"RTX 4090", 8, 9, 128, 2.520, 512, 512, 256, 1.01e6, 5.0e6, 72 << 20},
    {"H100", 9, 0, 132, 1.830, 2540, 4096, 256, 3.35e6, 5.5e6, 50 << 20},
    {"B200", 10, 0, 148, 1.850, 2540, 8192, 256, 8.0e6, 10.0e6, 126 << 20},
    {"RTX 5090", 12, 0, 170, 2.407, 512, 512, 256, 1.79e6, 5.0e6, 96 << 20},
}};

constexpr double kLaunch = 2.5;        ///< from one kernel's end to the next one's start, on a stream
constexpr double kTensorShare = 0.85;  ///< of the tensor cores' or the issue slots' time that our main loops keep busy
constexpr double kPlainShare = 0.65;   ///< of the peak without tensor cores
constexpr double kVendorShare = 0.80;  ///< of the peak, in the vendor's
constexpr double kStepLatency = 0.35;  ///< microseconds from a load's issue to its use, with two steps in flight
constexpr double kMemoryShare = 0.85;  ///< of DRAM's bandwidth that streaming reaches

double element_bytes(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::Half ? 2.0 : 4.0;
}

/// Of one SM, at its peak.
double flops_per_microsecond(const Architecture& gpu, Arithmetic arithmetic, double half) {
  const double per_clock = arithmetic == Arithmetic::Half ? half : arithmetic == Arithmetic::Tf32 ? half / 2.0 : gpu.float32;
  return per_clock * gpu.gigahertz * 1e3;
}

/// Bytes that come from or go to DRAM, and bytes that the kernel before has just left in L2, if they fit there.
double memory_time(const Architecture& gpu, double dram, double l2 = 0.0) {
  const bool fits = l2 < 0.5 * static_cast<double>(gpu.l2_bytes);
  return dram / (gpu.dram * kMemoryShare) + l2 / (fits ? gpu.l2 : gpu.dram * kMemoryShare);
}

/// How a product is cut: into tiles of rows × columns, and the depth into `splits`.
struct Cut {
  int64_t rows, columns, splits = 1;
};

double all_blocks(const ProductSize& size, const Cut& cut) {
  return static_cast<double>(ceil_divide(size.rows, cut.rows) * ceil_divide(size.columns, cut.columns) * cut.splits);
}

/// Blocks of the SM that has the most.
double most_blocks(const Architecture& gpu, const ProductSize& size, const Cut& cut) {
  return std::ceil(all_blocks(size, cut) / gpu.processors);
}

double block_flops(const ProductSize& size, const Cut& cut) {
  return 2.0 * static_cast<double>(cut.rows * cut.columns * ceil_divide(size.depth, cut.splits));
}

double flops(const ProductSize& size) {
  return 2.0 * static_cast<double>(size.rows) * static_cast<double>(size.columns * size.depth);
}

/// Elements of both factors and of the result.
double elements(const ProductSize& size) {
  return static_cast<double>(size.rows * size.depth + size.depth * size.columns + size.rows * size.columns);
}

/// A main loop of ours: what a step takes in of the depth, and what a warp issues in it (counted in sm_80's machine code, for
/// 16-bit and for TF32 operands).
struct Loop {
  int64_t depth_bytes, warps;
  double half_instructions, tf32_instructions;
};
constexpr Loop kRescaledLoop{128, 4, 450, 530}, kGradientLoop{64, 8, 260, 390}, kThinLoop{128, 4, 155, 190},
    kUpdatedLoop{128, 4, 225, 400}, kFoldLoop{32, 4, 183, 220};

/// A product by one of our kernels: two steps are on their way while one is computed, tiles come through L2, and a quarter of an
/// SM issues one instruction a clock.
KernelCost our_product(const char* what, const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Cut& cut,
                       const Loop& loop, double bytes) {
  const auto stage_depth = loop.depth_bytes / static_cast<int64_t>(element_bytes(arithmetic));
  const auto steps = static_cast<double>(ceil_divide(ceil_divide(size.depth, cut.splits), stage_depth));
  const double blocks = most_blocks(gpu, size, cut);
  double compute = blocks * block_flops(size, cut) / flops_per_microsecond(gpu, arithmetic, gpu.mma_half);
  if (arithmetic == Arithmetic::Float32) {
    compute /= kPlainShare;
  } else {
    const double instructions = arithmetic == Arithmetic::Half ? loop.half_instructions : loop.tf32_instructions;
    const double issue = blocks * steps * instructions * static_cast<double>(loop.warps) / 4.0 / (gpu.gigahertz * 1e3);
    compute = std::max(compute, issue) / kTensorShare;
  }
  // Tiles come through L2: all of them at its rate, and those of one SM at what its port takes.
  constexpr double kPortBytes = 64.0;  // a clock
  const double block_bytes = steps * static_cast<double>((cut.rows + cut.columns) * loop.depth_bytes);
  const double tiles =
      std::max(all_blocks(size, cut) * block_bytes / gpu.l2, blocks * block_bytes / (kPortBytes * gpu.gigahertz * 1e3));
  return {what, compute, std::max(memory_time(gpu, bytes), tiles), kStepLatency * (2.0 + steps) / 2.0, bytes, flops(size)};
}

/// The vendor's product, with the best of the tiles that such a library has; `l2_bytes` of its operands are in L2.
KernelCost vendor_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, double l2_bytes = 0.0) {
  const double bytes = element_bytes(arithmetic) * elements(size);
  KernelCost best{"product (vendor)", 1e300, memory_time(gpu, bytes - l2_bytes, l2_bytes), 0.0, bytes, flops(size)};
  for (const int64_t rows : {64, 128, 256}) {
    for (const int64_t columns : {32, 64, 128}) {
      for (const int64_t splits : {1, 2, 4, 8}) {
        if (splits > 1 && size.depth / splits < 128) continue;
        const Cut cut{rows, columns, splits};
        const double speed = flops_per_microsecond(gpu, arithmetic, gpu.vendor_half) * kVendorShare;
        const double compute = most_blocks(gpu, size, cut) * block_flops(size, cut) / speed;
        const double latency = kStepLatency * static_cast<double>(2 + ceil_divide(size.depth, 64 * splits)) / 2.0;
        if (std::max(compute, latency) >= std::max(best.compute, best.latency)) continue;
        best.compute = compute;
        best.latency = latency;
      }
    }
  }
  return best;
}

/// A kernel that goes over memory once.
KernelCost pass(const char* what, const Architecture& gpu, double dram, double l2 = 0.0) {
  return {what, 0.0, memory_time(gpu, dram, l2), kStepLatency, dram + l2, 0.0};
}

}  // namespace

std::span<const Architecture> architectures() {
  return kArchitectures;
}

Architecture architecture_of(int major, int minor, int processors) {
  Architecture found = kArchitectures.front();
  for (const auto& each : kArchitectures) {
    if (each.major < major || (each.major == major && each.minor <= minor)) found = each;
  }
  found.processors = processors;
  return found;
}

double KernelCost::time() const {
  return kLaunch + std::max({compute, memory, latency});
}

const char* KernelCost::limit() const {
  const double largest = std::max({compute, memory, latency});
  if (largest < kLaunch) return "launch";
  return largest == compute ? "compute" : largest == memory ? "memory" : "latency";
}

double Cost::time() const {
  double sum = 0.0;
  for (int i = 0; i < count; ++i) sum += kernels[static_cast<size_t>(i)].time();
  return sum;
}

Cost& Cost::then(const KernelCost& kernel) {
  kernels.at(static_cast<size_t>(count++)) = kernel;
  return *this;
}

Cost fused_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double bytes = element_bytes(arithmetic) * elements(size);
  return Cost().then(our_product("rescaled product", gpu, arithmetic, size, {64, 64}, kRescaledLoop, bytes));
}

Cost two_step_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double weight = element_bytes(arithmetic) * static_cast<double>(size.columns * size.depth);
  return Cost().then(pass("rescale the weight", gpu, weight, weight)).then(vendor_product(gpu, arithmetic, size, weight));
}

Cost fused_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const auto tiles_for = [&]<class Element>(Element) {
    const RescaledWeight<Element> weight{nullptr, nullptr, nullptr, size.columns, size.rows, size.rows, 1.0f};
    return ScaleGradientTiles::choose(weight, size.depth, gpu.processors);
  };
  const auto tiles = arithmetic == Arithmetic::Half ? tiles_for(int16_t{}) : tiles_for(float{});
  const double parts = 4.0 * static_cast<double>(tiles.splits * (tiles.rows * size.columns + (tiles.columns + 1) * size.rows));
  const double bytes = element_bytes(arithmetic) * elements(size) + parts;
  const Cut cut{ScaleGradientTiles::kSide, ScaleGradientTiles::kSide, tiles.splits};
  auto sum = pass("sum the parts", gpu, 0.0, parts);
  constexpr double kPartsAtOnce = 32.0;  // 8 threads with 4 loads each
  sum.latency *= 1.0 + static_cast<double>(tiles.splits * std::max(tiles.rows, tiles.columns)) / kPartsAtOnce;
  return Cost().then(our_product("scale gradients", gpu, arithmetic, size, cut, kGradientLoop, bytes)).then(sum);
}

Cost composed_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double count = static_cast<double>(size.rows * size.columns), g = element_bytes(arithmetic) * count,
               product = 4.0 * count;
  const double grad = element_bytes(arithmetic) * static_cast<double>(size.rows * size.depth);
  auto cost = Cost().then(vendor_product(gpu, arithmetic, size));
  if (arithmetic == Arithmetic::Half) {
    cost.then(pass("G to float32", gpu, 0.0, g + product)).then(pass("W to float32", gpu, g, product));
    cost.then(pass("G times W", gpu, 0.0, 3.0 * product));
  } else {
    cost.then(pass("G times W", gpu, product, 2.0 * product));
  }
  return cost.then(pass("times scale_out", gpu, 0.0, product))
      .then(pass("times scale_in", gpu, 0.0, product))
      .then(pass("sum of the gradient", gpu, 0.0, grad));
}

Cost fused_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double bytes = element_bytes(arithmetic) * (elements(size) + static_cast<double>(size.rows * size.columns));
  return Cost().then(our_product("thin product", gpu, arithmetic, size, {32, 32}, kThinLoop, bytes));
}

Cost composed_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds) {
  const double middle = element_bytes(arithmetic) * static_cast<double>(size.rows * size.columns);
  auto cost = Cost().then(vendor_product(gpu, arithmetic, size));
  return adds ? cost.then(pass("add what is passed on", gpu, middle, 2.0 * middle)) : cost;
}

Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank) {
  const auto step = kUpdatedLoop.depth_bytes / static_cast<int64_t>(element_bytes(arithmetic));  // a rank takes whole steps
  const ProductSize whole{size.rows, size.columns, size.depth + ceil_divide(rank, step) * step};
  const double bytes = element_bytes(arithmetic) * elements(whole);
  return Cost().then(our_product("updated product", gpu, arithmetic, whole, {64, 64}, kUpdatedLoop, bytes));
}

Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t rank,
                              int64_t groups) {
  const double output = element_bytes(arithmetic) * static_cast<double>(size.rows * size.columns);  // of all groups
  auto update =
      vendor_product(gpu, arithmetic, {size.rows, ceil_divide(size.columns, groups), rank}, output / static_cast<double>(groups));
  update.what = "add the update";
  update.memory += memory_time(gpu, 0.0, output / static_cast<double>(groups));  // the output is read, too
  update.bytes += output / static_cast<double>(groups);
  auto cost = Cost().then(vendor_product(gpu, arithmetic, size));
  for (int64_t group = 0; group < groups; ++group) cost.then(update);
  return cost;
}

Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double bytes = element_bytes(arithmetic) * (elements(size) + static_cast<double>(size.rows * size.columns));
  return Cost().then(our_product("fold", gpu, arithmetic, size, {64, 64}, kFoldLoop, bytes));
}

Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double weight = element_bytes(arithmetic) * static_cast<double>(size.rows * size.columns);
  auto update = vendor_product(gpu, arithmetic, size, weight);
  update.what = "add the update";
  update.memory += memory_time(gpu, 0.0, weight);
  update.bytes += weight;
  return Cost().then(pass("copy the weight", gpu, weight, weight)).then(update);
}

}  // namespace respeft::cuda
