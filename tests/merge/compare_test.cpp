#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>

#include <cmath>

namespace respeft {
namespace {

TEST(CompareLogits, CountsDifferenceAgreementAndAccuracy) {
  const auto first = at::tensor({1.0, 2.0, 4.0, 0.0}).view({2, 2});
  const auto second = at::tensor({1.0, 2.5, 0.0, 1.0}).view({2, 2});
  const auto comparison = compare_logits(first, second, at::tensor({1, 1}, at::kLong));
  EXPECT_EQ(comparison.images, 2);
  EXPECT_DOUBLE_EQ(comparison.max_difference, 4.0);
  EXPECT_DOUBLE_EQ(comparison.relative_difference, 1.0);
  EXPECT_DOUBLE_EQ(comparison.agreement, 0.5);
  EXPECT_DOUBLE_EQ(*comparison.accuracy_first, 0.5);
  EXPECT_DOUBLE_EQ(*comparison.accuracy_second, 1.0);
  EXPECT_FALSE(compare_logits(first, second).accuracy_first.has_value());
  EXPECT_THROW(compare_logits(first, second.view({1, 4})), c10::Error);
}

TEST(CompareLogits, NotANumberIsADifference) {
  const auto first = at::ones({1, 2});
  const auto second = at::full({1, 2}, std::nan(""));
  EXPECT_FALSE(compare_logits(first, second).max_difference <= 1.0);
}

}  // namespace
}  // namespace respeft
