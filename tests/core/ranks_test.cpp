#include <respeft/core/ranks.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/thread_ranks.h"

namespace respeft {
namespace {

TEST(Ranks, OneProcessChangesNothing) {
  Ranks& ranks = Ranks::single();
  EXPECT_EQ(ranks.rank(), 0);
  EXPECT_EQ(ranks.size(), 1);
  EXPECT_TRUE(ranks.writes_files());
  const at::Tensor tensor = at::arange(6).view({2, 3});
  ranks.all_reduce_sum({tensor});
  ranks.broadcast({tensor});
  ranks.barrier();
  EXPECT_TRUE(at::equal(tensor, at::arange(6).view({2, 3})));
  EXPECT_TRUE(ranks.any(true, at::kCPU));
  EXPECT_FALSE(ranks.any(false, at::kCPU));
}

TEST(Ranks, TensorsOfEveryKindGoThroughFlatBuffers) {
  test::on_ranks(3, [](Ranks& ranks) {
    const auto own = static_cast<double>(ranks.rank() + 1);
    const at::Tensor matrix = at::ones({2, 3}).mul(own).t(), scalar = at::scalar_tensor(own),
                     exact = at::full({4}, own, at::kDouble);
    ranks.all_reduce_sum({matrix, exact, scalar});
    EXPECT_TRUE(at::equal(matrix, at::full({3, 2}, 6.0)));  // 1 + 2 + 3
    EXPECT_EQ(scalar.item<float>(), 6.0F);
    EXPECT_TRUE(at::equal(exact, at::full({4}, 6.0, at::kDouble)));
    const at::Tensor from_first = at::full({2}, own);
    ranks.broadcast({from_first});
    EXPECT_TRUE(at::equal(from_first, at::ones({2})));
    EXPECT_TRUE(ranks.any(ranks.rank() == 2, at::kCPU));
    EXPECT_FALSE(ranks.any(false, at::kCPU));
    EXPECT_EQ(ranks.writes_files(), ranks.rank() == 0);
  });
}

}  // namespace
}  // namespace respeft
