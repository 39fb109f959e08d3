#include <respeft/data/source.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/expect_error.h"

namespace respeft::data {
namespace {

TEST(TensorSource, GivesEveryTensorInTheOrder) {
  const auto source = tensor_source({{kFeatures, at::arange(10).view({5, 2})}, {kLabels, at::arange(5)}});
  EXPECT_EQ(source->size(), 5);
  const auto batches = source->batches({4, 0, 2}, 2, 0);
  const auto first = batches->next(), second = batches->next();
  EXPECT_TRUE(at::equal(first->at(kLabels), at::tensor({4, 0}, at::kLong)));
  EXPECT_TRUE(at::equal(first->at(kFeatures), at::tensor({8, 9, 0, 1}, at::kLong).view({2, 2})));
  EXPECT_TRUE(at::equal(second->at(kLabels), at::tensor({2}, at::kLong)));
  EXPECT_FALSE(batches->next().has_value());
}

// Tensors on another device than the CPU are read with indices that are there too.
TEST(TensorSource, ReadsInTheOrderAskedFor) {
  const auto source = tensor_source({{kFeatures, at::arange(10).view({5, 2})}, {kLabels, at::arange(5)}});
  const auto batches = source->batches({4, 0, 2}, 2, 0);
  const auto batch = batches->next();
  EXPECT_TRUE(at::equal(batch->at(kFeatures), at::tensor({8, 9, 0, 1}, at::kLong).view({2, 2})));
  EXPECT_TRUE(at::equal(batch->at(kLabels), at::tensor({4, 0}, at::kLong)));
  EXPECT_EQ(batches->next()->size(), 1);
  EXPECT_FALSE(batches->next());
}

TEST(TensorSource, NeedsOneLength) {
  test::expect_error<std::invalid_argument>(
      [] {
        tensor_source({{kFeatures, at::zeros({5, 2})}, {kLabels, at::zeros({4})}});
      },
      {"tensor_source", "labels", "[4]"});
}

TEST(Precompute, ReplacesTheInput) {
  const auto source = tensor_source({{kPixels, at::arange(6).view({3, 2})}, {kLabels, at::arange(3)}});
  std::vector<int64_t> progress;
  const auto sum = [](const Batch& batch) { return batch.at(kPixels).sum(1); };
  const auto computed = precompute(*source, kPixels, kFeatures, sum, 2, [&](int64_t done) { progress.push_back(done); });
  EXPECT_EQ(progress, (std::vector<int64_t>{2, 3}));
  const auto batch = computed->batches({0, 1, 2}, 3, 0)->next();
  EXPECT_FALSE(batch->contains(kPixels));
  EXPECT_TRUE(at::equal(batch->at(kFeatures), at::tensor({1, 5, 9}, at::kLong)));
  EXPECT_TRUE(at::equal(batch->at(kLabels), at::arange(3)));
}

}  // namespace
}  // namespace respeft::data
