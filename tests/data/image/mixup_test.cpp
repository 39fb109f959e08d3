#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include <respeft/data/image/mixup.h>

#include "tests/expect_error.h"

namespace respeft::data {
namespace {

using test::expect_error;

// Computed by timm 1.0.31's cutmix_bbox_and_lam with numpy's random integers replaced by the given center.
TEST(CutMix, TheBoxIsTimms) {
  const auto expect = [](Mix::Box box, std::vector<int64_t> expected) {
    EXPECT_EQ((std::vector<int64_t>{box.top, box.bottom, box.left, box.right}), expected);
  };
  expect(cutmix_box(32, 32, 0.75, 10, 20), {2, 18, 12, 28});
  expect(cutmix_box(32, 32, 0.5, 0, 31), {0, 11, 20, 32});
  expect(cutmix_box(7, 9, 0.3, 3, 4), {1, 6, 1, 8});
  expect(cutmix_box(56, 40, 0.999, 55, 0), {55, 56, 0, 1});
  expect(cutmix_box(14, 14, 0.0, 7, 7), {0, 14, 0, 14});
}

TEST(CutMix, TakesTheBoxOfTheImageInReverseOrder) {
  const at::Tensor images = at::randn({4, 3, 6, 5});
  at::Tensor mixed = images.clone();
  mix(mixed, {.lam = 0.7, .box = Mix::Box{1, 4, 2, 5}});
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t y = 0; y < 6; ++y) {
      for (int64_t x = 0; x < 5; ++x) {
        const bool inside = y >= 1 && y < 4 && x >= 2;
        const auto from = images.select(0, inside ? 3 - i : i).select(1, y).select(1, x);
        EXPECT_TRUE(at::equal(mixed.select(0, i).select(1, y).select(1, x), from));
      }
    }
  }
}

TEST(Mixup, IsTheWeightedMeanWithTheReversedBatch) {
  for (const int64_t batch : {1, 2, 5, 6}) {
    const at::Tensor images = at::randn({batch, 3, 4, 4});
    at::Tensor mixed = images.clone();
    mix(mixed, {.lam = 0.3});
    EXPECT_TRUE(at::allclose(mixed, images * 0.3 + images.flip(0) * 0.7));
    if (batch % 2 == 1) {
      EXPECT_TRUE(at::allclose(mixed[batch / 2], images[batch / 2])) << "the middle one has no partner";
    }
  }
  const at::Tensor images = at::randn({4, 3, 4, 4});
  at::Tensor same = images.clone();
  mix(same, {});
  EXPECT_TRUE(at::equal(same, images));
}

// timm 1.0.31's mixup_target(tensor([2, 0, 1]), 4, lam=0.7, smoothing=0.1), printed with nine digits.
TEST(Mixup, TheTargetsAreTimms) {
  const at::Tensor labels = at::tensor(std::vector<int64_t>{2, 0, 1});
  const at::Tensor expected = at::tensor(std::vector<float>{0.025000000f, 0.295000017f, 0.654999971f, 0.025000000f,  //
                                                            0.924999952f, 0.025000000f, 0.025000000f, 0.025000000f,  //
                                                            0.025000000f, 0.654999971f, 0.295000017f, 0.025000000f});
  EXPECT_TRUE(at::equal(mixed_targets(labels, 4, 0.7, 0.1), expected.view({3, 4})));
  EXPECT_TRUE(at::equal(mixed_targets(labels, 4, 1.0, 0.0), at::one_hot(labels, 4).to(at::kFloat)));
}

/// How often batches are mixed, and how.
struct Counts {
  int none = 0, mixup = 0, cutmix = 0;
  std::vector<double> lams;

  explicit Counts(const MixupOptions& options) {
    const Mixup mixup_or_cutmix(options);
    std::mt19937_64 generator(4), same(4);
    for (int i = 0; i < 4000; ++i) {
      const Mix how = mixup_or_cutmix.draw(20, 30, generator);
      EXPECT_EQ(how.lam, mixup_or_cutmix.draw(20, 30, same).lam);
      ++(how.box ? cutmix : how.lam == 1.0 ? none : mixup);
      if (how.box && options.correct_lam) {
        const auto& box = *how.box;
        EXPECT_EQ(how.lam, 1.0 - static_cast<double>((box.bottom - box.top) * (box.right - box.left)) / 600.0);
      }
      lams.push_back(how.lam);
    }
  }
};

TEST(Mixup, DrawsAsOftenAsItsProbabilitiesSay) {
  const Counts both({.mixup_alpha = 0.8, .cutmix_alpha = 1.0, .prob = 0.6, .switch_prob = 0.25});
  EXPECT_NEAR(both.none, 1600, 124);  // four standard deviations
  EXPECT_NEAR(both.cutmix, 600, 90);
  const Counts mixup({.mixup_alpha = 0.2}), cutmix({.cutmix_alpha = 1.0, .switch_prob = 0.0});
  EXPECT_EQ(mixup.mixup, 4000);
  EXPECT_EQ(cutmix.cutmix, 4000);
  // Beta(0.2, 0.2) is below 0.1 in 33.67 % of draws (scipy.stats.beta.cdf).
  EXPECT_NEAR(std::ranges::count_if(mixup.lams, [](double lam) { return lam < 0.1; }), 0.3367 * 4000, 120);
}

TEST(Mixup, RefusesWhatCannotBe) {
  const auto error = [](const MixupOptions& options, const std::string& part) {
    expect_error<std::invalid_argument>([&] { Mixup{options}; }, {"Mixup: ", part});
  };
  error({}, "alphas 0 and 0");
  error({.mixup_alpha = -1.0, .cutmix_alpha = 2.0}, "alphas -1 and 2");
  error({.mixup_alpha = 1.0, .prob = 1.5}, "probability 1.5");
  error({.mixup_alpha = 1.0, .switch_prob = -0.5}, "probability -0.5 of CutMix");
  at::Tensor features = at::zeros({4, 7});
  EXPECT_THROW(mix(features, {.lam = 0.5, .box = Mix::Box{0, 1, 0, 1}}), c10::ValueError);
}

}  // namespace
}  // namespace respeft::data
