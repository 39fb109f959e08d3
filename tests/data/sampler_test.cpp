#include <respeft/data/sampler.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "src/data/random.h"
#include "tests/expect_error.h"

namespace respeft::data {
namespace {

TEST(EpochOrder, IsAPermutationOfItsOwn) {
  for (int64_t epoch : {0, 1, 2}) {
    auto order = epoch_order(1000, 42, epoch);
    EXPECT_EQ(order, epoch_order(1000, 42, epoch));
    EXPECT_NE(order, epoch_order(1000, 42, epoch + 1));
    EXPECT_NE(order, epoch_order(1000, 43, epoch));
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, sequential_order(1000));
  }
  EXPECT_TRUE(epoch_order(0, 1, 1).empty());
}

// Computed by a Python program with its own MT19937-64, SplitMix64 and Fisher-Yates, from their publications.
TEST(EpochOrder, IsTheSameEverywhere) {
  EXPECT_EQ(epoch_seed(42, 3), 18036798128018490698u);
  EXPECT_EQ(epoch_order(12, 42, 3), (std::vector<int64_t>{4, 10, 0, 9, 5, 1, 8, 11, 6, 2, 3, 7}));
  EXPECT_EQ(epoch_order(12, 42, 4), (std::vector<int64_t>{1, 2, 7, 10, 3, 8, 0, 6, 5, 11, 9, 4}));
}

TEST(DrawBelow, IsUniform) {
  std::mt19937_64 generator(1);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts[draw_below(generator, 6)];
  for (int count : counts) EXPECT_NEAR(count, 10000, 4 * 91.3);  // four standard deviations
  EXPECT_EQ(draw_below(generator, 1), 0u);
}

// Three ranks of batches of 2 read the same six examples as one rank's batch of 6.
TEST(Shard, TheRanksReadTheSameExamplesTogether) {
  const auto order = epoch_order(20, 1, 0);
  std::vector<std::vector<int64_t>> parts;
  for (int64_t rank = 0; rank < 3; ++rank) {
    parts.push_back(shard(order, rank, 3));
    EXPECT_EQ(static_cast<int64_t>(parts.back().size()), shard_size(20, rank, 3));
  }
  for (size_t batch = 0; batch < 3; ++batch) {
    std::vector<int64_t> together, expected(order.begin() + 6 * batch, order.begin() + 6 * batch + 6);
    for (const auto& part : parts) together.insert(together.end(), part.begin() + 2 * batch, part.begin() + 2 * batch + 2);
    std::sort(together.begin(), together.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(together, expected);
  }
  EXPECT_EQ(shard(order, 0, 1), order);
  EXPECT_EQ(shard_size(2, 2, 3), 0);
  test::expect_error<std::invalid_argument>([&] { shard(order, 3, 3); }, {"rank 3 of 3"});
}

}  // namespace
}  // namespace respeft::data
