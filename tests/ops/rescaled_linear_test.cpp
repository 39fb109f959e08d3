#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <respeft/ops/rescaled_linear.h>
#include <torch/csrc/autograd/autograd.h>

#include <respeft/inspect/saved_tensors.h>
#include "tests/gradients.h"

namespace respeft::ops {
namespace {

/// W' and the layer written out in plain ATen operators: the oracle for everything here.
at::Tensor reference(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& scale_in,
                     const at::Tensor& scale_out, bool residual) {
  const auto in = scale_in.dim() == 2 ? scale_in.repeat_interleave(weight.size(0) / scale_in.size(0), 0) : scale_in.unsqueeze(0);
  const auto factor = scale_out.unsqueeze(1) * in;
  return at::linear(x, weight * (residual ? factor + 1.0 : factor), bias);
}

struct Case {
  std::vector<int64_t> leading;
  int64_t in, out, groups;
  bool residual, bias, contiguous;
};

struct Tensors {
  at::Tensor x, weight, bias, scale_in, scale_out;
};

/// A matrix that is a strided view of a larger one.
at::Tensor strided(const at::Tensor& tensor) {
  auto sizes = tensor.sizes().vec();
  sizes.back() *= 2;
  auto wide = at::zeros(sizes, tensor.options());
  auto view = wide.slice(-1, 0, c10::nullopt, 2);
  view.copy_(tensor);
  return view;
}

Tensors draw(const Case& c, at::ScalarType dtype) {
  at::manual_seed(7);
  auto shape = c.leading;
  shape.push_back(c.in);
  const auto make = [&](at::IntArrayRef sizes, double scale) {
    const auto tensor = (at::randn(sizes, at::kDouble) * scale).to(dtype);
    return c.contiguous ? tensor : strided(tensor);
  };
  Tensors t;
  t.x = make(shape, 1.0);
  t.weight = make({c.out, c.in}, 0.3);
  if (c.bias) t.bias = make({c.out}, 1.0);
  t.scale_in = c.groups == 1 ? make({c.in}, 0.5) : make({c.groups, c.in}, 0.5);
  t.scale_out = make({c.out}, 0.5);
  return t;
}

const std::vector<Case> kCases = {
    {{}, 5, 3, 1, true, true, true},           {{0}, 5, 3, 1, true, true, true},       {{1}, 1, 1, 1, true, false, true},
    {{7}, 33, 65, 1, true, true, true},        {{2, 3}, 17, 12, 3, true, true, true},  {{2, 3}, 17, 12, 3, false, true, false},
    {{3, 1, 5}, 24, 40, 2, true, false, true}, {{2, 0, 4}, 8, 6, 3, true, true, true}, {{9}, 64, 129, 3, false, false, false},
    {{4}, 0, 6, 1, true, true, true},          {{4}, 6, 0, 1, true, true, true},       {{13}, 96, 288, 3, true, true, false},
};

class RescaledLinear : public testing::TestWithParam<std::tuple<Case, at::ScalarType>> {};

double largest_error(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 ? 0.0 : (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

TEST_P(RescaledLinear, EqualsThePlainComposition) {
  const auto& c = std::get<0>(GetParam());
  const auto dtype = std::get<1>(GetParam());
  const auto t = draw(c, dtype);
  const auto exact = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.to(at::kDouble) : tensor; };
  const bool mixed = dtype == at::kHalf || dtype == at::kBFloat16;
  for (const bool float_scales : {false, true}) {
    if (float_scales && !mixed) continue;
    const auto s_in = float_scales ? t.scale_in.to(at::kFloat) : t.scale_in;
    const auto s_out = float_scales ? t.scale_out.to(at::kFloat) : t.scale_out;
    const auto y = rescaled_linear(t.x, t.weight, t.bias, s_in, s_out, c.residual);
    auto shape = c.leading;
    shape.push_back(c.out);
    ASSERT_EQ(y.sizes(), at::IntArrayRef(shape));
    ASSERT_EQ(y.scalar_type(), dtype);
    const auto truth = reference(exact(t.x), exact(t.weight), exact(t.bias), exact(t.scale_in), exact(t.scale_out), c.residual);
    const auto plain = reference(t.x, t.weight, t.bias, t.scale_in, t.scale_out, c.residual);
    // Twice ATen's own error at this precision, plus one rounding of the largest output.
    const double size = truth.numel() == 0 ? 0.0 : truth.abs().max().item<double>();
    const double rounding = dtype == at::kDouble ? 1e-15 : dtype == at::kFloat ? 1e-6 : dtype == at::kHalf ? 1e-3 : 8e-3;
    EXPECT_LE(largest_error(y, truth), 2.0 * largest_error(plain, truth) + rounding * size);
  }
}

TEST_P(RescaledLinear, BackwardEqualsThePlainComposition) {
  const auto& c = std::get<0>(GetParam());
  const auto dtype = std::get<1>(GetParam());
  const auto t = draw(c, dtype);
  const auto gradients = [&](at::ScalarType precision, auto&& function) {
    const auto leaf = [&](const at::Tensor& tensor) { return tensor.to(precision).detach().requires_grad_(true); };
    std::vector<at::Tensor> leaves = {leaf(t.x), leaf(t.scale_in), leaf(t.scale_out)};
    if (c.bias) leaves.push_back(leaf(t.bias));
    const auto y =
        function(leaves[0], t.weight.to(precision), c.bias ? leaves[3] : at::Tensor(), leaves[1], leaves[2], c.residual);
    at::manual_seed(11);
    const auto grad = at::randn(y.sizes(), at::kDouble).to(dtype).to(precision);
    return torch::autograd::grad({y}, leaves, {grad});
  };
  const auto ours = gradients(dtype, rescaled_linear);
  const auto plain = gradients(dtype, reference);
  const auto truth = gradients(at::kDouble, reference);
  const double rounding = dtype == at::kDouble ? 1e-14 : dtype == at::kFloat ? 2e-6 : dtype == at::kHalf ? 2e-3 : 1.6e-2;
  for (size_t i = 0; i < truth.size(); ++i) {
    ASSERT_EQ(ours[i].sizes(), truth[i].sizes());
    ASSERT_EQ(ours[i].scalar_type(), dtype);
    const double size = truth[i].numel() == 0 ? 0.0 : truth[i].abs().max().item<double>();
    EXPECT_LE(largest_error(ours[i], truth[i]), 2.0 * largest_error(plain[i], truth[i]) + rounding * size) << "gradient " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Matrix, RescaledLinear,
                         testing::Combine(testing::ValuesIn(kCases),
                                          testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kHalf)));

at::Tensor leaf(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble).requires_grad_(true);
}

TEST(RescaledLinearGradients, EqualCentralDifferences) {
  for (const int64_t groups : {1, 3}) {
    for (const bool residual : {true, false}) {
      const auto x = leaf({2, 4, 5}), bias = leaf({6}), s_out = leaf({6}), s_in = groups == 1 ? leaf({5}) : leaf({groups, 5});
      const auto weight = at::randn({6, 5}, at::kDouble);
      test::expect_gradients([&] { return rescaled_linear(x, weight, bias, s_in, s_out, residual); }, {x, bias, s_in, s_out});
    }
  }
}

TEST(RescaledLinearGradients, CanBeDifferentiatedAgain) {
  const auto x = leaf({3, 4}), bias = leaf({6}), s_in = leaf({2, 4}), s_out = leaf({6});
  const auto weight = at::randn({6, 4}, at::kDouble);
  const auto direction = at::randn({3, 6}, at::kDouble).requires_grad_(true);
  const auto first = [&] {
    const at::AutoGradMode with_gradients(true);
    const auto y = rescaled_linear(x, weight, bias, s_in, s_out, true);
    const auto grads = torch::autograd::grad({y.sin()}, {x, s_in, s_out, bias}, {direction}, true, /*create_graph=*/true);
    return at::cat({grads[0].reshape(-1), grads[1].reshape(-1), grads[2], grads[3]});
  };
  test::expect_gradients(first, {x, s_in, s_out, direction});
}

TEST(RescaledLinearGradients, OnlyWhatIsAskedForIsComputed) {
  const auto x = at::randn({3, 4}), weight = at::randn({6, 4}), s_in = at::randn({4}), s_out = at::randn({6}),
             grad = at::randn({3, 6});
  for (int wanted = 0; wanted < 16; ++wanted) {
    const std::array<bool, 4> mask = {(wanted & 1) != 0, (wanted & 2) != 0, (wanted & 4) != 0, (wanted & 8) != 0};
    const auto [gx, gin, gout, gb] = rescaled_linear_backward(grad, x, weight, s_in, s_out, true, mask);
    EXPECT_EQ(gx.defined(), mask[0]);
    EXPECT_EQ(gin.defined(), mask[1]);
    EXPECT_EQ(gout.defined(), mask[2]);
    EXPECT_EQ(gb.defined(), mask[3]);
  }
}

TEST(RescaledLinearMemory, KeepsInputAndVectorsAlone) {
  const auto x = at::randn({32, 64}).requires_grad_(true), weight = at::randn({128, 64}), bias = at::randn({128});
  const auto s_in = at::randn({64}).requires_grad_(true), s_out = at::randn({128}).requires_grad_(true);
  const auto ours = bytes_saved_for_backward([&] { return rescaled_linear(x, weight, bias, s_in, s_out); }, {weight});
  EXPECT_EQ(ours, 4 * (32 * 64 + 64 + 128));
  const auto plain = bytes_saved_for_backward([&] { return reference(x, weight, bias, s_in, s_out, true); }, {weight});
  EXPECT_GE(plain - ours, 4 * 128 * 64);
}

TEST(RescaledLinearThreads, SumsDoNotDependOnTheirNumber) {
  const auto x = at::randn({50, 96}), weight = at::randn({320, 96}), s_in = at::randn({96}), s_out = at::randn({320});
  const auto grad = at::randn({50, 320});
  const int threads = at::get_num_threads();
  const auto run = [&](int n) {
    at::set_num_threads(n);
    return rescaled_linear_backward(grad, x, weight, s_in, s_out, true, {false, true, true, false});
  };
  const auto one = run(1), two = run(2);
  at::set_num_threads(threads);
  EXPECT_LE(largest_error(std::get<1>(one), std::get<1>(two)), 1e-4);
  EXPECT_TRUE(at::equal(std::get<1>(two), std::get<1>(run(2))));
  at::set_num_threads(threads);
}

TEST(RescaledLinearAutocast, CastsAllButTheScales) {
  const auto x = at::randn({5, 16}), weight = at::randn({8, 16}), bias = at::randn({8});
  const auto s_in = at::randn({16}).requires_grad_(true), s_out = at::randn({8}).requires_grad_(true);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto y = rescaled_linear(x, weight, bias, s_in, s_out);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const auto truth = reference(x, weight, bias, s_in, s_out, true);
  EXPECT_LE(largest_error(y, truth), 0.03 * truth.abs().max().item<double>());
  const auto grads = torch::autograd::grad({y.sum()}, {s_in, s_out});
  EXPECT_EQ(grads[0].scalar_type(), at::kFloat);
  EXPECT_EQ(grads[1].scalar_type(), at::kFloat);
}

TEST(RescaledLinearMeta, GivesShapesAndDtypes) {
  const auto meta = at::TensorOptions().device(at::kMeta).dtype(at::kBFloat16);
  const auto x = at::empty({2, 7, 16}, meta), weight = at::empty({24, 16}, meta);
  const auto s_in = at::empty({3, 16}, meta.dtype(at::kFloat)), s_out = at::empty({24}, meta.dtype(at::kFloat));
  const auto y = rescaled_linear(x, weight, {}, s_in, s_out);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 7, 24}));
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  const auto [gx, gin, gout, gb] = rescaled_linear_backward(y, x, weight, s_in, s_out, true, {true, true, true, true});
  EXPECT_EQ(gx.sizes(), x.sizes());
  EXPECT_EQ(gin.sizes(), s_in.sizes());
  EXPECT_EQ(gin.scalar_type(), at::kFloat);
  EXPECT_EQ(gout.sizes(), s_out.sizes());
  EXPECT_EQ(gb.sizes(), at::IntArrayRef({24}));
}

void expect_error(const std::function<void()>& call, const std::string& part) {
  try {
    call();
    ADD_FAILURE() << "expected an error that says: " << part;
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what_without_backtrace()).find(part), std::string::npos) << error.what_without_backtrace();
  }
}

TEST(RescaledLinearErrors, NameTheArgumentAndTheShapes) {
  const auto x = at::randn({3, 4}), weight = at::randn({6, 4}), bias = at::randn({6}), s_in = at::randn({4}),
             s_out = at::randn({6});
  expect_error(
      [&] {
        rescaled_linear(at::randn({3, 5}), weight, bias, s_in, s_out);
      },
      "expected input [..., 4] for weight [6, 4], got [3, 5]");
  expect_error([&] { rescaled_linear(at::scalar_tensor(1.0), weight, bias, s_in, s_out); },
               "expected input [..., in], got a scalar");
  expect_error([&] { rescaled_linear(x.to(at::kLong), weight, bias, s_in, s_out); }, "floating-point");
  expect_error([&] { rescaled_linear(x, at::randn({6}), bias, s_in, s_out); }, "expected weight [out, in], got [6]");
  expect_error([&] { rescaled_linear(x, weight.to(at::kDouble), bias, s_in, s_out); }, "expected weight of input's dtype");
  expect_error([&] { rescaled_linear(x, weight, at::randn({5}), s_in, s_out); }, "expected bias [6], got [5]");
  expect_error([&] { rescaled_linear(x, weight, bias, at::randn({5}), s_out); }, "expected scale_in [4] or [groups, 4], got [5]");
  expect_error([&] { rescaled_linear(x, weight, bias, at::randn({4, 4}), s_out); }, "to divide into scale_in's groups");
  expect_error([&] { rescaled_linear(x, weight, bias, s_in, at::randn({4})); }, "expected scale_out [6], got [4]");
  expect_error([&] { rescaled_linear(x, weight, bias, s_in.to(at::kHalf), s_out); },
               "expected scale_in of input's dtype Float or float32");
  expect_error([&] { rescaled_linear(x, weight.clone().requires_grad_(true), bias, s_in, s_out); }, "the weight is frozen");
  expect_error(
      [&] {
        rescaled_linear_backward(at::randn({3, 5}), x, weight, s_in, s_out, true, {});
      },
      "expected grad_output [3, 6], got [3, 5]");
}

TEST(RescaleWeight, IsTheFold) {
  for (const int64_t groups : {1, 3}) {
    const auto weight = at::randn({6, 4}), s_in = groups == 1 ? at::randn({4}) : at::randn({3, 4}), s_out = at::randn({6});
    const auto x = at::eye(4);
    for (const bool residual : {true, false}) {
      const auto truth = reference(x, weight, {}, s_in, s_out, residual).t();
      EXPECT_LE(largest_error(rescale_weight(weight, s_in, s_out, residual), truth), 1e-6);
    }
  }
}

}  // namespace
}  // namespace respeft::ops
