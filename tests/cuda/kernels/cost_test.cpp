// The cost model against what it must say: limits add up, more work costs more, and each way wins where it should.

#include "cuda/cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/rescaled_linear.h"
#include "cuda/shortcut.h"
#include "tests/cuda/kernels/measured.h"

namespace respeft::cuda {
namespace {

const Architecture& named(const std::string& name) {
  for (const auto& each : architectures())
    if (name == each.name) return each;
  throw std::invalid_argument(name);
}

TEST(Cost, PeaksAreThoseOfTheDataSheets) {
  // TFLOPS of dense 16-bit products with float32 sums: the vendor's data sheets of A100, RTX 3090, RTX 4090, H100 SXM, B200 and
  // RTX 5090.
  const std::vector<std::pair<const char*, double>> sheets = {{"A100", 312}, {"RTX 3090", 71}, {"RTX 4090", 165.2},
                                                              {"H100", 989}, {"B200", 2250},   {"RTX 5090", 209.5}};
  for (const auto& [name, tflops] : sheets) {
    const auto& gpu = named(name);
    EXPECT_NEAR(gpu.vendor_half * gpu.gigahertz * gpu.processors / 1e3 / tflops, 1.0, 0.02) << name;
    EXPECT_LE(gpu.mma_half, gpu.vendor_half) << name;
  }
}

TEST(Cost, AnArchitectureIsFoundForEveryComputeCapability) {
  EXPECT_STREQ(architecture_of(8, 0, 108).name, "A100");
  EXPECT_STREQ(architecture_of(8, 7, 16).name, "RTX 3090");
  EXPECT_STREQ(architecture_of(8, 9, 76).name, "RTX 4090");
  EXPECT_EQ(architecture_of(8, 9, 76).processors, 76);
  EXPECT_STREQ(architecture_of(9, 0, 132).name, "H100");
  EXPECT_STREQ(architecture_of(13, 0, 100).name, "RTX 5090");
  EXPECT_STREQ(architecture_of(7, 5, 40).name, "A100");
}

TEST(Cost, MoreWorkNeverCostsLess) {
  for (const auto& gpu : architectures()) {
    for (const auto arithmetic : {Arithmetic::Half, Arithmetic::Tf32, Arithmetic::Float32}) {
      std::vector<double> before(9, 0.0);
      for (const int64_t tokens : {1, 64, 197, 1576, 12608, 100000}) {
        const ProductSize size{tokens, 768, 768};
        const auto groups = equal_groups(3, 768, 8);
        const std::vector<Cost> costs = {
            fused_rescaled_product(gpu, arithmetic, size, 3),
            fused_rescaled_product(gpu, arithmetic, size, 3, Direction::Backward),
            two_step_rescaled_product(gpu, arithmetic, size),
            fused_thin_product(gpu, arithmetic, size, 3),
            composed_middle_gradient(gpu, arithmetic, size, true, 3),
            fused_updated_product(gpu, arithmetic, size, groups),
            composed_updated_product(gpu, arithmetic, size, groups),
            fused_fold(gpu, arithmetic, size),
            composed_fold(gpu, arithmetic, size),
        };
        for (size_t i = 0; i < costs.size(); ++i) {
          EXPECT_GE(costs[i].time(), before[i]) << gpu.name << ", " << tokens << " tokens, " << costs[i].kernels[0].what;
          before[i] = costs[i].time();
        }
      }
    }
  }
}

TEST(Cost, ATimeIsItsLaunchAndItsLargestLimit) {
  const KernelCost kernel{"", 3.0, 5.0, 4.0, 0.5, 0.0, 0.0};
  EXPECT_STREQ(kernel.limit(), "memory");
  EXPECT_GT(kernel.time(), 5.5);
  EXPECT_DOUBLE_EQ(Cost().then(kernel).then(kernel).time(), 2.0 * kernel.time());
}

// ---- What an H100 took --------------------------------------------------------------------------------------------------------

/// Our time and the vendor's as predicted for a row of docs/gpu.md.
std::pair<double, double> predicted(const Measured& row) {
  const auto& gpu = named("H100");
  const auto kind = row.arithmetic;
  const auto& s = row.size;
  const std::string kernel = row.kernel;
  if (kernel == "rescaled product")
    return {fused_rescaled_product(gpu, kind, s).time(), two_step_rescaled_product(gpu, kind, s).time()};
  if (kernel == "scale gradients")
    return {fused_scale_gradients(gpu, kind, s).time(), composed_scale_gradients(gpu, kind, s).time()};
  if (kernel == "thin product")
    return {fused_thin_product(gpu, kind, s).time(), composed_thin_product(gpu, kind, s, true).time()};
  if (kernel == "updated product")
    return {fused_updated_product(gpu, kind, s, 8).time(), composed_updated_product(gpu, kind, s, 8, 1).time()};
  if (kernel == "fold") return {fused_fold(gpu, kind, s).time(), composed_fold(gpu, kind, s).time()};
  throw std::invalid_argument(kernel);
}

class CostOfMeasured : public ::testing::TestWithParam<Measured> {};
INSTANTIATE_TEST_SUITE_P(H100, CostOfMeasured, ::testing::ValuesIn(kMeasuredOnH100));

TEST_P(CostOfMeasured, IsPredictedAndTheFasterWayIsTaken) {
  const auto& row = GetParam();
  const auto [ours, vendors] = predicted(row);
  EXPECT_LT(std::abs(std::log(row.ours / ours)), std::log(1.6)) << row.kernel << ", predicted " << ours;
  EXPECT_LT(std::abs(std::log(row.vendors / vendors)), std::log(1.6)) << row.kernel << ", predicted " << vendors;
  const double loss = ours <= vendors ? row.ours / row.vendors : row.vendors / row.ours;
  EXPECT_LT(loss, 1.15) << row.kernel << ": " << (ours <= vendors ? "ours" : "the vendor's") << " is taken";
}

TEST(Cost, OneMoreKernelIsNeverFree) {
  for (const auto& gpu : architectures()) {
    const ProductSize size{64, 768, 128};
    EXPECT_EQ(two_step_rescaled_product(gpu, Arithmetic::Half, size).count, 2);
    EXPECT_LT(fused_fold(gpu, Arithmetic::Half, {768, 768, 8}).time(),
              composed_fold(gpu, Arithmetic::Half, {768, 768, 8}).time());
  }
}

TEST(Cost, ASplitDepthIsAddedUpByASecondKernel) {
  const ProductSize deep{197, 16, 12608};
  for (const auto& gpu : architectures()) {
    const Cost cost = composed_thin_product(gpu, Arithmetic::Half, deep, false);
    ASSERT_EQ(cost.count, 2) << gpu.name;
    EXPECT_STREQ(cost.kernels[1].what, "sum of the splits");
    // 8 parts in float32 are written and read; then the output is written.
    const double parts = 4.0 * 8 * 197 * 16, output = 2.0 * 197 * 16, operands = 2.0 * 12608 * (197 + 16);
    EXPECT_DOUBLE_EQ(cost.kernels[0].bytes, operands + parts) << gpu.name;
    EXPECT_DOUBLE_EQ(cost.kernels[1].bytes, parts + output) << gpu.name;
    EXPECT_GT(cost.time(), cost.kernels[0].time() + 2.0) << gpu.name << ": it is launched, too";
  }
}

TEST(Cost, ADepthIsSplitOnlyWhereThatPays) {
  const auto kernels = [](const ProductSize& size) {
    return composed_thin_product(named("H100"), Arithmetic::Half, size, false).count;
  };
  EXPECT_EQ(kernels({12608, 3072, 768}), 1) << "there are tiles enough";
  EXPECT_EQ(kernels({197, 16, 128}), 1) << "there is nothing to split";
  EXPECT_EQ(kernels({197, 16, 768}), 1) << "a launch takes longer";
}

TEST(Cost, ThereIsRoomForTheMostKernels) {
  const auto groups = equal_groups(Groups::kMost, 32 * Groups::kMost, 12608);
  const auto cost = composed_updated_product(named("H100"), Arithmetic::Half, {64, 32 * Groups::kMost, 12608}, groups);
  EXPECT_EQ(cost.count, 2 + 2 * Groups::kMost) << "every product is split";
}

// ---- The kernels' cuts --------------------------------------------------------------------------------------------------------

TEST(Cost, TilesAndStepsAreThoseOfTheKernels) {
  struct Kernel {
    Cut cut;
    std::function<KernelCost(const Architecture&, const ProductSize&)> cost;
  };
  constexpr auto kind = Arithmetic::Half;
  using Gpu = Architecture;
  const std::vector<Kernel> kernels = {
      {kRescaledProductCut, [](const Gpu& g, const ProductSize& s) { return fused_rescaled_product(g, kind, s).kernels[0]; }},
      {kScaleGradientsCut, [](const Gpu& g, const ProductSize& s) { return fused_scale_gradients(g, kind, s).kernels[0]; }},
      {kThinProductCut, [](const Gpu& g, const ProductSize& s) { return fused_thin_product(g, kind, s).kernels[0]; }},
      {kUpdatedProductCut, [](const Gpu& g, const ProductSize& s) { return fused_updated_product(g, kind, s, 1).kernels[0]; }},
      {kFoldCut, [](const Gpu& g, const ProductSize& s) { return fused_fold(g, kind, s).kernels[0]; }},
  };
  Architecture one = named("A100");
  one.processors = 1;  // every block counts
  for (const auto& [cut, cost] : kernels) {
    const int64_t step = cut.depth_bytes / 2;
    const auto kernel = [&, &cost = cost](const ProductSize& size) { return cost(one, size); };
    const auto whole = kernel({cut.rows, cut.columns, 4 * step});
    EXPECT_DOUBLE_EQ(kernel({1, 1, 3 * step + 1}).compute, whole.compute) << whole.what;
    EXPECT_DOUBLE_EQ(kernel({cut.rows + 1, cut.columns, 4 * step}).compute, 2.0 * whole.compute) << whole.what;
    EXPECT_DOUBLE_EQ(kernel({cut.rows, cut.columns + 1, 4 * step}).compute, 2.0 * whole.compute) << whole.what;
    const auto next = kernel({cut.rows, cut.columns, 4 * step + 1});
    EXPECT_GT(next.compute, whole.compute) << whole.what;
    const auto twice = kernel({cut.rows, cut.columns, 8 * step});
    EXPECT_NEAR(twice.latency - whole.latency, 4.0 * (next.latency - whole.latency), 1e-9) << whole.what;
  }
}

// ---- Groups of the weight's rows ----------------------------------------------------------------------------------------------

class CostOfGroups : public ::testing::TestWithParam<Arithmetic> {};
INSTANTIATE_TEST_SUITE_P(All, CostOfGroups, ::testing::Values(Arithmetic::Half, Arithmetic::Tf32, Arithmetic::Float32));

TEST_P(CostOfGroups, NoTileOfARescaledProductHasRowsOfTwo) {
  for (const auto& gpu : architectures()) {
    const auto compute = [&](const ProductSize& size, int64_t groups, Direction direction) {
      return fused_rescaled_product(gpu, GetParam(), size, groups, direction).kernels[0].compute;
    };
    EXPECT_DOUBLE_EQ(compute({1576, 12 * 65, 768}, 12, Direction::Forward),
                     compute({1576, 12 * 128, 768}, 1, Direction::Forward));
    EXPECT_DOUBLE_EQ(compute({1576, 12 * 64, 768}, 12, Direction::Forward), compute({1576, 12 * 64, 768}, 1, Direction::Forward));
    const int64_t steps = GetParam() == Arithmetic::Half ? 2 * 64 : 3 * 32;  // that a group of 65 takes
    EXPECT_DOUBLE_EQ(compute({1576, 768, 12 * 65}, 12, Direction::Backward),
                     compute({1576, 768, 12 * steps}, 1, Direction::Backward));
  }
}

TEST_P(CostOfGroups, NoTileOfTheScalesGradientsHasRowsOfTwo) {
  for (const auto& gpu : architectures()) {
    const auto compute = [&](int64_t rows, int64_t groups) {
      return fused_scale_gradients(gpu, GetParam(), {rows, 768, 12608}, groups).kernels[0].compute;
    };
    EXPECT_DOUBLE_EQ(compute(12 * 129, 12), compute(12 * 256, 1)) << gpu.name;
    EXPECT_GT(compute(12 * 129, 12), 1.5 * compute(12 * 129, 1)) << gpu.name;
    EXPECT_DOUBLE_EQ(compute(12 * 128, 12), compute(12 * 128, 1)) << gpu.name;
  }
}

TEST_P(CostOfGroups, TheScalesGradientsHavePartsOfTheirOwn) {
  // One split; 65 rows a group are a tile each, 3 · 65 rows in one group are two.
  constexpr int64_t in = 128, rows = 65;
  const auto sum = [&](int64_t groups) {
    const auto cost = fused_scale_gradients(named("H100"), GetParam(), {3 * rows, in, 8}, groups);
    return std::pair(cost.kernels[0].bytes, cost.kernels[1].bytes);
  };
  const auto [written, summed] = sum(3);
  const auto [written_as_one, summed_as_one] = sum(1);
  EXPECT_DOUBLE_EQ(summed, 4.0 * (3 * in + 2 * 3 * rows) + 4.0 * (3 * in + 2 * 3 * rows));  // parts, gradients
  EXPECT_DOUBLE_EQ(summed_as_one, 4.0 * (2 * in + 2 * 3 * rows) + 4.0 * (in + 2 * 3 * rows));
  EXPECT_DOUBLE_EQ(written - written_as_one, 4.0 * in);

  // A result of one of 24 groups is the sum of its own tiles alone.
  const auto latency = [](int64_t groups) {
    return fused_scale_gradients(named("H100"), GetParam(), {24 * 128, in, 12608}, groups).kernels[1].latency;
  };
  EXPECT_LT(latency(24), latency(1));
}

TEST_P(CostOfGroups, AThinProductHasTilesOfItsOwnForEach) {
  for (const auto& gpu : architectures()) {
    const auto one = fused_thin_product(gpu, GetParam(), {12608, 8, 768}).kernels[0];
    const auto three = fused_thin_product(gpu, GetParam(), {12608, 8, 768}, 3).kernels[0];
    EXPECT_DOUBLE_EQ(three.compute, fused_thin_product(gpu, GetParam(), {12608, 3 * 32, 768}).kernels[0].compute) << gpu.name;
    EXPECT_DOUBLE_EQ(three.bytes, 3.0 * one.bytes) << "each reads its own rows of the gradient";
    EXPECT_DOUBLE_EQ(three.flops, 3.0 * one.flops);
  }
}

TEST_P(CostOfGroups, ATileTakesTheUpdatesOfAllThatItMeets) {
  const auto& gpu = named("A100");
  const int64_t step = GetParam() == Arithmetic::Half ? 64 : 32;
  const auto compute = [&](int64_t columns, const Groups& groups) {
    return fused_updated_product(gpu, GetParam(), {1576, columns, 768}, groups).kernels[0].compute;
  };
  // Of groups of 24 rows, one tile of 64 meets 4.
  EXPECT_DOUBLE_EQ(compute(192, equal_groups(8, 192, 8)), compute(192, equal_groups(1, 192, 4 * step)));
  // Those that begin and end with a tile are alone in it, wherever they are.
  EXPECT_DOUBLE_EQ(compute(2304, {2, 768, 8, {0, 1536}}), compute(2304, equal_groups(1, 2304, 8)));
  EXPECT_DOUBLE_EQ(compute(2304, {2, 768, 8, {0, 800}}), compute(2304, equal_groups(1, 2304, 8)));
  EXPECT_DOUBLE_EQ(compute(2304, {2, 790, 8, {0, 800}}), compute(2304, equal_groups(1, 2304, 2 * step)));
}

TEST_P(CostOfGroups, ATileOfAFoldTakesTheUpdatesOfAllThatItMeets) {
  const auto& gpu = named("A100");
  const int64_t step = GetParam() == Arithmetic::Half ? 16 : 8;
  const auto compute = [&](const Groups& groups) { return fused_fold(gpu, GetParam(), 768, 768, groups).kernels[0].compute; };
  EXPECT_DOUBLE_EQ(compute(equal_groups(3, 768, 8)), compute(equal_groups(1, 768, 8)));
  EXPECT_DOUBLE_EQ(compute(equal_groups(8, 768, 8)), compute(equal_groups(1, 768, 2 * step)));  // 96 rows each
}

TEST_P(CostOfGroups, WithoutOurKernelsEachIsAProductOfItsOwn) {
  for (const auto& gpu : architectures()) {
    const auto groups = equal_groups(3, 2304, 8);
    const auto updated = composed_updated_product(gpu, GetParam(), {1576, 2304, 128}, groups);
    const auto folded = composed_fold(gpu, GetParam(), 2304, 768, groups);
    const auto middle = composed_middle_gradient(gpu, GetParam(), {1576, 8, 128}, true, 3);
    const double element = GetParam() == Arithmetic::Half ? 2.0 : 4.0;
    for (const auto& [cost, rows, columns, depth] :
         {std::tuple(updated, 1576, 768, 8), std::tuple(folded, 768, 768, 8), std::tuple(middle, 1576, 8, 128)}) {
      ASSERT_EQ(cost.count, 4) << gpu.name << ", " << cost.kernels[0].what;
      // Each reads and writes its own part of the output.
      EXPECT_DOUBLE_EQ(cost.kernels[3].bytes, element * (rows * depth + depth * columns + 2.0 * rows * columns));
    }
  }
}

TEST(Cost, GroupsDecideBetweenTheWays) {
  const auto& gpu = named("A100");
  const auto fold_is_ours = [&](int64_t groups) {
    const auto of = equal_groups(groups, 3072, 256);
    return fused_fold(gpu, Arithmetic::Half, 3072, 768, of).time() < composed_fold(gpu, Arithmetic::Half, 3072, 768, of).time();
  };
  EXPECT_FALSE(fold_is_ours(1));
  EXPECT_TRUE(fold_is_ours(6)) << "the vendor's are seven kernels then";
  const auto gradients_are_ours = [&](int64_t groups) {
    const ProductSize size{12 * 65, 768, 12608};
    return fused_scale_gradients(gpu, Arithmetic::Half, size, groups).time() <
           composed_scale_gradients(gpu, Arithmetic::Half, size).time();
  };
  EXPECT_TRUE(gradients_are_ours(1));
  EXPECT_FALSE(gradients_are_ours(12)) << "half of every tile is empty then";
}

TEST(Cost, ArithmeticDecidesBetweenTheWaysOfAFold) {
  const ProductSize size{768, 768, 64};
  const auto is_ours = [&](Arithmetic arithmetic) {
    return fused_fold(named("A100"), arithmetic, size).time() < composed_fold(named("A100"), arithmetic, size).time();
  };
  EXPECT_TRUE(is_ours(Arithmetic::Half));
  EXPECT_FALSE(is_ours(Arithmetic::Float32));
}

}  // namespace
}  // namespace respeft::cuda
