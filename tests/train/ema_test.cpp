#include <respeft/train/ema.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/expect_error.h"

namespace respeft::train {
namespace {

TEST(ParameterEma, IsTheSumOfWhatWasWeightedByAge) {
  const at::Tensor x = at::randn({3, 2}), y = at::randn({5}).requires_grad_();
  const at::Tensor first = x.clone();
  ParameterEma ema({{"x", x}, {"y", y}}, 0.9);
  at::Tensor expected = first * std::pow(0.9, 6);
  for (int step = 0; step < 6; ++step) {
    x.copy_(at::randn({3, 2}));
    expected = expected + x * (0.1 * std::pow(0.9, 5 - step));
    ema.update();
  }
  ASSERT_EQ(ema.values().size(), 2u);
  EXPECT_EQ(ema.values()[0].first, "x");
  EXPECT_TRUE(at::allclose(ema.values()[0].second, expected, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(ema.values()[1].second, y.detach(), 1e-5, 1e-6)) << "what does not move is its own average";
  EXPECT_FALSE(ema.values()[1].second.requires_grad());
}

TEST(ParameterEma, ExchangedTwiceIsAsBefore) {
  const at::Tensor x = at::randn({4}).requires_grad_();
  ParameterEma ema({{"x", x}}, 0.5);
  x.detach().add_(1.0);
  ema.update();
  const at::Tensor parameter = x.detach().clone(), average = ema.values()[0].second.clone();
  EXPECT_FALSE(at::equal(parameter, average));
  ema.exchange();
  EXPECT_TRUE(at::equal(x.detach(), average));
  EXPECT_TRUE(at::equal(ema.values()[0].second, parameter));
  ema.exchange();
  EXPECT_TRUE(at::equal(x.detach(), parameter));
  EXPECT_TRUE(at::equal(ema.values()[0].second, average));
  EXPECT_TRUE(x.requires_grad());
}

TEST(ParameterEma, RefusesADecayThatCannotBe) {
  for (const double decay : {1.0, -0.1, std::nan("")})
    test::expect_error<std::invalid_argument>([&] { ParameterEma({}, decay); }, {"EMA: decay"});
}

}  // namespace
}  // namespace respeft::train
