// The cost model against what it must say: limits add up, more work costs more, and each way wins where it should.

#include "cuda/cost.h"

#include <gtest/gtest.h>

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
      for (const auto cost : {fused_rescaled_product, two_step_rescaled_product, fused_thin_product, fused_fold}) {
        double before = 0.0;
        for (const int64_t tokens : {1, 64, 197, 1576, 12608, 100000}) {
          const double time = cost(gpu, arithmetic, {tokens, 768, 768}).time();
          EXPECT_GE(time, before) << gpu.name << ", " << tokens << " tokens";
          before = time;
        }
      }
    }
  }
}

TEST(Cost, ATimeIsItsLaunchAndItsLargestLimit) {
  const KernelCost kernel{"", 3.0, 5.0, 4.0, 0.0, 0.0};
  EXPECT_STREQ(kernel.limit(), "memory");
  EXPECT_GT(kernel.time(), 5.0);
  EXPECT_DOUBLE_EQ(Cost().then(kernel).then(kernel).time(), 2.0 * kernel.time());
}

TEST(Cost, TheRescaledProductIsFusedForFewTokensAndTheVendorsForMany) {
  // ViT-B's attention projection on H100 and its MLP on A100, for one image and for 64.
  const std::vector<std::pair<const char*, int64_t>> cases = {{"H100", 768}, {"A100", 3072}};
  for (const auto& [name, columns] : cases) {
    const auto fused_wins = [&, &gpu = named(name), width = columns](int64_t tokens) {
      const ProductSize size{tokens, width, 768};
      return fused_rescaled_product(gpu, Arithmetic::Half, size).time() <
             two_step_rescaled_product(gpu, Arithmetic::Half, size).time();
    };
    EXPECT_TRUE(fused_wins(197)) << name;
    EXPECT_FALSE(fused_wins(64 * 197)) << name;
  }
}

TEST(Cost, OneMoreKernelIsNeverFree) {
  for (const auto& gpu : architectures()) {
    const ProductSize size{64, 768, 768};
    EXPECT_EQ(two_step_rescaled_product(gpu, Arithmetic::Half, size).count, 2);
    EXPECT_LT(fused_fold(gpu, Arithmetic::Half, {768, 768, 8}).time(),
              composed_fold(gpu, Arithmetic::Half, {768, 768, 8}).time());
  }
}

}  // namespace
}  // namespace respeft::cuda
