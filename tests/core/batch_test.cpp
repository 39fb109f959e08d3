#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/core/batch.h>

#include <stdexcept>

namespace respeft {
namespace {

TEST(Batch, HoldsTensorsByName) {
  Batch batch{{kPixels, at::ones({4, 3, 2, 2})}, {kLabels, at::arange(4)}};
  EXPECT_EQ(batch.size(), 4);
  EXPECT_TRUE(batch.contains(kLabels));
  EXPECT_TRUE(at::equal(batch.at(kLabels), at::arange(4)));
  batch["weights"] = at::zeros({4});
  EXPECT_EQ(batch.tensors().size(), 3U);
}

TEST(Batch, AnAbsentTensorIsAnErrorOrUndefined) {
  const Batch batch{{kPixels, at::ones({1})}, {kLabels, at::ones({1})}};
  EXPECT_FALSE(batch.get("token_ids").defined());
  EXPECT_FALSE(batch.contains("token_ids"));
  try {
    batch.at("token_ids");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "the batch has no 'token_ids'; it has 'labels', 'pixels'");
  }
  EXPECT_EQ(Batch().size(), 0);
}

TEST(Batch, MovesEveryTensor) {
  const auto moved = Batch{{kPixels, at::ones({2, 3})}, {kLabels, at::arange(2)}}.to(at::kMeta);
  EXPECT_TRUE(moved.at(kPixels).is_meta());
  EXPECT_EQ(moved.at(kLabels).scalar_type(), at::kLong);
}

}  // namespace
}  // namespace respeft
