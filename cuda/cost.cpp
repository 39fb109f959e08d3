#include "cuda/cost.h"

#include <algorithm>
#include <array>
#include <limits>

#include "cuda/launch.h"
#include "cuda/rescaled_linear.h"
#include "cuda/shortcut.h"

namespace respeft::cuda {
namespace {

// From the vendor's data sheets (dense, without sparsity) and, for mma.sync on Hopper, "Benchmarking and Dissecting the Nvidia
// Hopper GPU Architecture" (Luo et al., 2024): 62 % of what wgmma reaches. For Blackwell's data-center chip the same instruction
// is taken to run at Hopper's rate, for want of a figure.
constexpr std::array<Architecture, 6> kArchitectures = {{
    {"A100", 8, 0, 108, 1.410, 2048, 2048, 128, 2.04e6, 5.0e6, 40 << 20},
    {"RTX 3090", 8, 6, 82, 1.695, 512, 512, 256, 0.936e6, 2.5e6, 6 << 20},
    {"RTX 4090", 8, 9, 128, 2.520, 512, 512, 256, 1.01e6, 5.0e6, 72 << 20},
    {"H100", 9, 0, 132, 1.830, 2540, 4096, 256, 3.35e6, 5.5e6, 50 << 20},
    {"B200", 10, 0, 148, 1.850, 2540, 8192, 256, 8.0e6, 10.0e6, 126 << 20},
    {"RTX 5090", 12, 0, 170, 2.407, 512, 512, 256, 1.79e6, 5.0e6, 96 << 20},
}};

// Fitted to what an H100 SXM took for the sizes of docs/gpu.md; microseconds where no unit is said.
constexpr double kLaunch = 2.6;            ///< from one kernel's end to the next one's start, on a stream
constexpr double kOnce = 4.1;              ///< the first loads and the epilogue of our products, which nothing overlaps
constexpr double kVendorOnce = 1.75;       ///< the same of the vendor's
constexpr double kReductionOnce = 6.5;     ///< the stages of a sum in ATen
constexpr double kTensorShare = 0.60;      ///< of the tensor cores' or the issue slots' time that our main loops keep busy
constexpr double kPlainShare = 0.65;       ///< of the peak without tensor cores; not measured
constexpr double kVendorShare = 0.70;      ///< of the peak, in the vendor's
constexpr double kVendorTf32Share = 0.47;  ///< the same with TF32 operands
constexpr double kLoadLatency = 0.20;      ///< from a load's issue to its use, when no cache has it
constexpr double kLoneCycles = 3.1;        ///< from one instruction to the next, of a warp alone in its quarter of an SM
constexpr double kMemoryShare = 0.95;      ///< of DRAM's bandwidth that streaming reaches

double element_bytes(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::Half ? 2.0 : 4.0;
}

/// Of one SM, at its peak.
double flops_per_microsecond(const Architecture& gpu, Arithmetic arithmetic, double half) {
  const double per_clock = arithmetic == Arithmetic::Half ? half : arithmetic == Arithmetic::Tf32 ? half / 2.0 : gpu.float32;
  return per_clock * gpu.gigahertz * 1e3;
}

/// Bytes that come from or go to DRAM.
double dram_time(const Architecture& gpu, double bytes) {
  return bytes / (gpu.dram * kMemoryShare);
}

/// Bytes that are in L2, if all that is `written` there stays.
double l2_time(const Architecture& gpu, double bytes, double written) {
  return written < 0.5 * static_cast<double>(gpu.l2_bytes) ? bytes / gpu.l2 : dram_time(gpu, bytes);
}

double product_of(int64_t a, int64_t b, int64_t c = 1) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
}

double flops(const ProductSize& size) {
  return 2.0 * product_of(size.rows, size.columns, size.depth);
}

/// Elements of both factors and of the result.
double elements(const ProductSize& size) {
  return product_of(size.rows, size.depth) + product_of(size.depth, size.columns) + product_of(size.rows, size.columns);
}

// ---- Our products -------------------------------------------------------------------------------------------------------------

/// What a warp issues in a step of a main loop (counted in sm_80's machine code), for 16-bit and for TF32 operands.
struct Instructions {
  double half, tf32;
};
constexpr Instructions kRescaledProductStep{450, 530}, kScaleGradientsStep{260, 390}, kThinProductStep{155, 190},
    kUpdatedProductStep{225, 400}, kFoldStep{183, 220};

/// The depth of a step.
int64_t step_of(const Cut& cut, Arithmetic arithmetic) {
  return cut.depth_bytes / static_cast<int64_t>(element_bytes(arithmetic));
}

/// The steps of a depth.
int64_t steps_of(const Cut& cut, Arithmetic arithmetic, int64_t depth) {
  return ceil_divide(depth, step_of(cut, arithmetic));
}

/// What a launch has to do: its blocks, the steps of each, and every byte and FLOP that the result needs.
struct Work {
  int64_t blocks, steps;
  double bytes, flops;
};

/// A product by one of our kernels: all but one of the stages are on their way while one is computed, tiles come through L2, and
/// a quarter of an SM issues one instruction a clock.
KernelCost our_product(const char* what, const Architecture& gpu, Arithmetic arithmetic, const Cut& cut,
                       const Instructions& instructions, const Work& work) {
  const auto steps = static_cast<double>(work.steps);
  const auto most_blocks = static_cast<double>(ceil_divide(work.blocks, gpu.processors));  // of the SM that has the most
  const double step_flops = 2.0 * product_of(cut.rows, cut.columns, step_of(cut, arithmetic));
  double compute = most_blocks * steps * step_flops / flops_per_microsecond(gpu, arithmetic, gpu.mma_half);
  if (arithmetic == Arithmetic::Float32) {
    compute /= kPlainShare;
  } else {
    const double warps_of_quarter = cut.threads / 32.0 / 4.0;
    const double issued = (arithmetic == Arithmetic::Half ? instructions.half : instructions.tf32) * warps_of_quarter;
    compute = std::max(compute, most_blocks * steps * issued / (gpu.gigahertz * 1e3)) / kTensorShare;
  }
  // Tiles come through L2: all of them at its rate, and those of one SM at what its port takes.
  constexpr double kPortBytes = 64.0;  // a clock
  const double block_bytes = steps * product_of(cut.rows + cut.columns, cut.depth_bytes);
  const double tiles = std::max(static_cast<double>(work.blocks) * block_bytes / gpu.l2,
                                most_blocks * block_bytes / (kPortBytes * gpu.gigahertz * 1e3));
  // A block's steps follow each other no faster than their loads arrive, or than a warp issues what is in one.
  const double step_issue =
      (arithmetic == Arithmetic::Half ? instructions.half : instructions.tf32) * kLoneCycles / (gpu.gigahertz * 1e3);
  const double latency = steps * std::max(kLoadLatency / (cut.stages - 1), step_issue);
  return {what, compute, std::max(dram_time(gpu, work.bytes), tiles), latency, kOnce, work.bytes, work.flops};
}

/// The most groups that have rows in one tile of `side`; it is a tile in which one of them begins.
int64_t most_meeting(const Groups& groups, int64_t side) {
  int64_t most = 0;
  for (int g = 0; g < groups.count; ++g) {
    const int64_t first = groups.rows[g] / side * side;
    most = std::max<int64_t>(most, std::count_if(groups.rows, groups.rows + groups.count,
                                                 [&](int64_t row) { return row < first + side && row + groups.height > first; }));
  }
  return most;
}

// ---- The vendor's products, and passes ----------------------------------------------------------------------------------------

/// What the kernel before a product of the vendor's has `written`, to L2 if there is room: an operand of it, or what it `adds`
/// to, in all or in part.
struct Before {
  double written = 0.0;
  bool adds = false;
};

/// The vendor's product, with the best of the tiles that such a library has. Where it splits the depth, each part leaves its sums
/// in float32, and a second kernel adds them up.
Cost vendor_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Before& before = {},
                    const char* what = "product (vendor)") {
  const double output = element_bytes(arithmetic) * product_of(size.rows, size.columns);
  const double operands = element_bytes(arithmetic) * elements(size) - output;
  const double in_l2 = before.adds ? 0.0 : before.written;
  const double reading = dram_time(gpu, operands - in_l2) + l2_time(gpu, in_l2, before.written);
  const double result = before.adds ? 2.0 * output : output;
  const double writing = before.adds ? l2_time(gpu, result, before.written) : dram_time(gpu, result);
  const double share = arithmetic == Arithmetic::Tf32 ? kVendorTf32Share : kVendorShare;
  const double speed = flops_per_microsecond(gpu, arithmetic, gpu.vendor_half) * share;
  Cost best;
  for (const int64_t splits : {1, 2, 4, 8}) {
    if (splits > 1 && size.depth / splits < 128) continue;
    const int64_t depth = ceil_divide(size.depth, splits);
    double compute = std::numeric_limits<double>::max();
    for (const int64_t rows : {64, 128, 256}) {
      for (const int64_t columns : {32, 64, 128}) {
        const int64_t blocks = ceil_divide(size.rows, rows) * ceil_divide(size.columns, columns) * splits;
        compute = std::min(compute, product_of(ceil_divide(blocks, gpu.processors), 2 * rows * columns, depth) / speed);
      }
    }
    const double latency = kLoadLatency * static_cast<double>(ceil_divide(depth, 64)) / 4.0;  // four steps on their way
    Cost cost;
    if (splits == 1) {
      cost.then(KernelCost{what, compute, reading + writing, latency, kVendorOnce, operands + result, flops(size)});
    } else {
      const double parts = 4.0 * product_of(size.rows, size.columns, splits), passing = l2_time(gpu, parts, parts);
      cost.then(KernelCost{what, compute, reading + passing, latency, kVendorOnce, operands + parts, flops(size)});
      cost.then(KernelCost{"sum of the splits", 0.0, passing + writing, 0.0, 0.0, parts + result, 0.0});
    }
    if (best.count == 0 || cost.time() < best.time()) best = cost;
  }
  return best;
}

/// A kernel that goes over memory once.
KernelCost pass(const char* what, const Architecture& gpu, double dram, double l2 = 0.0) {
  return {what, 0.0, dram_time(gpu, dram) + l2_time(gpu, l2, l2), 0.0, 0.0, dram + l2, 0.0};
}

/// A sum in ATen, of what is in L2 if there is room.
KernelCost reduction(const char* what, const Architecture& gpu, double bytes) {
  auto cost = pass(what, gpu, 0.0, bytes);
  cost.once = kReductionOnce;
  return cost;
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
  return kLaunch + once + std::max({compute, memory, latency});
}

const char* KernelCost::limit() const {
  const double largest = std::max({compute, memory, latency});
  if (largest < kLaunch + once) return "launch";
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

Cost& Cost::then(const Cost& next) {
  for (int i = 0; i < next.count; ++i) then(next.kernels[static_cast<size_t>(i)]);
  return *this;
}

Cost fused_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups,
                            Direction direction) {
  constexpr auto& cut = kRescaledProductCut;
  const bool forward = direction == Direction::Forward;
  const int64_t column_groups = forward ? groups : 1, depth_groups = forward ? 1 : groups;
  const Work work{ceil_divide(size.rows, cut.rows) * tiles_in_groups(size.columns, column_groups, cut.columns),
                  tiles_in_groups(size.depth, depth_groups, step_of(cut, arithmetic)), element_bytes(arithmetic) * elements(size),
                  flops(size)};
  return Cost().then(our_product("rescaled product", gpu, arithmetic, cut, kRescaledProductStep, work));
}

Cost two_step_rescaled_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double weight = element_bytes(arithmetic) * product_of(size.columns, size.depth);
  return Cost()
      .then(pass("rescale the weight", gpu, weight, weight))
      .then(vendor_product(gpu, arithmetic, size, {.written = weight}));
}

Cost fused_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups) {
  constexpr auto& cut = kScaleGradientsCut;
  const auto tiles_for = [&]<class Element>(Element) {
    const RescaledWeight<Element> weight{nullptr, nullptr, nullptr, size.columns, size.rows, size.rows / groups, 1.0f};
    return ScaleGradientTiles::choose(weight, size.depth, gpu.processors);
  };
  const auto tiles = arithmetic == Arithmetic::Half ? tiles_for(int16_t{}) : tiles_for(float{});
  const double parts = 4.0 * static_cast<double>(tiles.splits) *
                       (product_of(groups, tiles.rows, size.columns) + product_of(tiles.columns + 1, size.rows));
  const Work work{groups * tiles.rows * tiles.columns * tiles.splits, steps_of(cut, arithmetic, tiles.split_tokens),
                  element_bytes(arithmetic) * elements(size) + parts, flops(size)};
  auto sum = pass("sum the parts", gpu, 4.0 * (product_of(groups, size.columns) + product_of(2, size.rows)), parts);
  constexpr int64_t kAtOnce = SumPartsCut::kLanes * SumPartsCut::kLoads;
  sum.latency = kLoadLatency * static_cast<double>(ceil_divide(tiles.splits * std::max(tiles.rows, tiles.columns), kAtOnce));
  return Cost().then(our_product("scale gradients", gpu, arithmetic, cut, kScaleGradientsStep, work)).then(sum);
}

Cost composed_scale_gradients(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size) {
  const double count = product_of(size.rows, size.columns), g = element_bytes(arithmetic) * count, product = 4.0 * count;
  const double grad = element_bytes(arithmetic) * product_of(size.rows, size.depth);
  auto cost = vendor_product(gpu, arithmetic, size);
  if (arithmetic == Arithmetic::Half) {
    cost.then(pass("G to float32", gpu, 0.0, g + product)).then(pass("W to float32", gpu, g, product));
    cost.then(pass("G times W", gpu, 0.0, 3.0 * product));
  } else {
    cost.then(pass("G times W", gpu, product, 2.0 * product));
  }
  return cost.then(reduction("times scale_out", gpu, product))
      .then(reduction("times scale_in", gpu, product))
      .then(reduction("sum of the gradient", gpu, grad));
}

Cost fused_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, int64_t groups) {
  constexpr auto& cut = kThinProductCut;
  const auto count = static_cast<double>(groups);
  const double bytes = element_bytes(arithmetic) * (elements(size) + product_of(size.rows, size.columns));
  const Work work{groups * ceil_divide(size.rows, cut.rows) * ceil_divide(size.columns, cut.columns),
                  steps_of(cut, arithmetic, size.depth), count * bytes, count * flops(size)};
  return Cost().then(our_product("thin product", gpu, arithmetic, cut, kThinProductStep, work));
}

Cost composed_thin_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds) {
  const double middle = element_bytes(arithmetic) * product_of(size.rows, size.columns);
  auto cost = vendor_product(gpu, arithmetic, size);
  return adds ? cost.then(pass("add what is passed on", gpu, middle, 2.0 * middle)) : cost;
}

Cost composed_middle_gradient(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, bool adds,
                              int64_t groups) {
  const double middle = element_bytes(arithmetic) * product_of(groups, size.rows, size.columns);
  auto cost = Cost().then(pass(adds ? "copy what is passed on" : "zeros", gpu, adds ? 2.0 * middle : middle));
  const auto product = vendor_product(gpu, arithmetic, size, {.written = middle, .adds = true});
  for (int64_t group = 0; group < groups; ++group) cost.then(product);
  return cost;
}

Cost fused_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups) {
  constexpr auto& cut = kUpdatedProductCut;
  const ProductSize update{size.rows, groups.height, groups.rank};
  const double factors = elements(update) - product_of(update.rows, update.columns);
  const Work work{
      ceil_divide(size.rows, cut.rows) * ceil_divide(size.columns, cut.columns),
      most_meeting(groups, cut.columns) * steps_of(cut, arithmetic, groups.rank) + steps_of(cut, arithmetic, size.depth),
      element_bytes(arithmetic) * (elements(size) + groups.count * factors), flops(size) + groups.count * flops(update)};
  return Cost().then(our_product("updated product", gpu, arithmetic, cut, kUpdatedProductStep, work));
}

Cost composed_updated_product(const Architecture& gpu, Arithmetic arithmetic, const ProductSize& size, const Groups& groups) {
  const double output = element_bytes(arithmetic) * product_of(size.rows, size.columns);
  const auto update = vendor_product(gpu, arithmetic, {size.rows, groups.height, groups.rank}, {.written = output, .adds = true},
                                     "add the update");
  auto cost = vendor_product(gpu, arithmetic, size);
  for (int group = 0; group < groups.count; ++group) cost.then(update);
  return cost;
}

Cost fused_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups) {
  constexpr auto& cut = kFoldCut;
  const ProductSize update{groups.height, columns, groups.rank};
  const double factors = elements(update) - product_of(update.rows, update.columns);
  const Work work{ceil_divide(rows, cut.rows) * ceil_divide(columns, cut.columns),
                  most_meeting(groups, cut.rows) * steps_of(cut, arithmetic, groups.rank),
                  element_bytes(arithmetic) * (2.0 * product_of(rows, columns) + groups.count * factors),
                  groups.count * flops(update)};
  return Cost().then(our_product("fold", gpu, arithmetic, cut, kFoldStep, work));
}

Cost composed_fold(const Architecture& gpu, Arithmetic arithmetic, int64_t rows, int64_t columns, const Groups& groups) {
  const double weight = element_bytes(arithmetic) * product_of(rows, columns);
  const auto update =
      vendor_product(gpu, arithmetic, {groups.height, columns, groups.rank}, {.written = weight, .adds = true}, "add the update");
  auto cost = Cost().then(pass("copy the weight", gpu, 2.0 * weight));
  for (int group = 0; group < groups.count; ++group) cost.then(update);
  return cost;
}

Groups equal_groups(int64_t count, int64_t rows, int64_t rank) {
  Groups groups{static_cast<int>(count), rows / count, rank, {}};
  for (int g = 0; g < groups.count; ++g) groups.rows[g] = g * groups.height;
  return groups;
}

}  // namespace respeft::cuda
