#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <respeft/ops/shortcut.h>
#include <torch/csrc/autograd/autograd.h>

#include <respeft/inspect/saved_tensors.h>
#include "tests/expect_error.h"
#include "tests/gradients.h"

namespace respeft::ops {
namespace {

struct Case {
  std::vector<int64_t> leading;
  int64_t in, out, height, rank;
  std::vector<int64_t> rows;
  int64_t handed_out;  ///< rows of `down` beyond those that `up` reads
  bool bias, previous, branch, contiguous;
};

struct Tensors {
  at::Tensor x, weight, bias, down, up, previous, branch;
};

constexpr double kScaling = 0.75;

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

/// Both outputs written out in plain ATen operators, group by group: the oracle for everything here.
std::vector<at::Tensor> reference(const Tensors& t, at::IntArrayRef rows) {
  const int64_t count = static_cast<int64_t>(rows.size()), height = t.up.size(0) / count, rank = t.up.size(1);
  auto middle = at::linear(t.branch.defined() ? t.branch : t.x, t.down);
  if (t.previous.defined()) middle = middle + at::constant_pad_nd(t.previous, {0, t.down.size(0) - count * rank});
  auto output = at::linear(t.x, t.weight, t.bias);
  for (int64_t g = 0; g < count; ++g) {
    const auto update = kScaling * at::matmul(middle.narrow(-1, g * rank, rank), t.up.narrow(0, g * height, height).t());
    const int64_t row = rows[static_cast<size_t>(g)];
    output = output + at::constant_pad_nd(update, {row, t.weight.size(0) - row - height});
  }
  return {output, middle};
}

std::vector<at::Tensor> fused(const Tensors& t, at::IntArrayRef rows) {
  const auto [output, middle] =
      shortcut_linear(t.x, t.weight, optional(t.bias), t.down, t.up, optional(t.previous), kScaling, rows, optional(t.branch));
  return {output, middle};
}

std::vector<at::Tensor> folded(const Tensors& t, at::IntArrayRef rows, bool dense) {
  return {folded_linear(t.x, t.weight, optional(t.bias), t.down, t.up, kScaling, rows, dense)};
}

/// A tensor that is a strided view of a larger one.
at::Tensor strided(const at::Tensor& tensor) {
  auto sizes = tensor.sizes().vec();
  sizes.back() *= 2;
  auto view = at::zeros(sizes, tensor.options()).slice(-1, 0, c10::nullopt, 2);
  view.copy_(tensor);
  return view;
}

Tensors draw(const Case& c, at::ScalarType dtype) {
  at::manual_seed(7);
  const auto make = [&](std::vector<int64_t> leading, std::vector<int64_t> sizes, double scale) {
    leading.insert(leading.end(), sizes.begin(), sizes.end());
    const auto tensor = (at::randn(leading, at::kDouble) * scale).to(dtype);
    return c.contiguous ? tensor : strided(tensor);
  };
  const int64_t used = c.rank * static_cast<int64_t>(c.rows.size());
  Tensors t;
  t.x = make(c.leading, {c.in}, 1.0);
  t.weight = make({}, {c.out, c.in}, 0.3);
  if (c.bias) t.bias = make({}, {c.out}, 1.0);
  t.down = make({}, {used + c.handed_out, c.in}, 0.3);
  t.up = make({}, {c.height * static_cast<int64_t>(c.rows.size()), c.rank}, 0.5);
  if (c.previous) t.previous = make(c.leading, {used}, 1.0);
  if (c.branch) t.branch = make(c.leading, {c.in}, 1.0);
  return t;
}

const std::vector<Case> kCases = {
    {{}, 5, 3, 3, 2, {0}, 0, true, false, false, true},
    {{0}, 5, 3, 3, 2, {0}, 1, true, true, false, true},
    {{7}, 33, 65, 65, 1, {0}, 0, true, true, false, true},
    {{2, 3}, 17, 12, 4, 3, {0, 4, 8}, 0, true, true, false, true},
    {{2, 3}, 17, 12, 4, 3, {0, 8}, 6, false, true, false, false},
    {{3, 1, 5}, 24, 40, 10, 8, {30}, 8, true, true, true, false},
    {{2, 0, 4}, 8, 6, 2, 2, {2, 4}, 2, true, false, true, true},
    {{9}, 64, 129, 43, 5, {43}, 0, false, false, true, false},
    {{4}, 0, 6, 6, 2, {0}, 0, true, true, false, true},
    {{13}, 96, 288, 96, 7, {0, 96, 192}, 21, true, true, true, false},
};

class ShortcutLinear : public testing::TestWithParam<std::tuple<Case, at::ScalarType>> {};

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : tensor.to(at::kDouble).abs().max().item<double>();
}
double largest_error(const at::Tensor& a, const at::Tensor& b) {
  return largest(a.to(at::kDouble) - b.to(at::kDouble));
}

Tensors in(const Tensors& t, at::ScalarType dtype, bool leaves = false) {
  const auto to = [&](const at::Tensor& tensor, bool leaf) {
    if (!tensor.defined()) return tensor;
    return leaf ? tensor.to(dtype).detach().clone().requires_grad_(true) : tensor.to(dtype);
  };
  return {to(t.x, leaves),  to(t.weight, false),    to(t.bias, leaves),  to(t.down, leaves),
          to(t.up, leaves), to(t.previous, leaves), to(t.branch, leaves)};
}

std::vector<at::Tensor> leaves_of(const Tensors& t) {
  std::vector<at::Tensor> leaves;
  for (const auto& tensor : {t.x, t.bias, t.down, t.up, t.previous, t.branch}) {
    if (tensor.defined()) leaves.push_back(tensor);
  }
  return leaves;
}

template <class Function>
void expect_close(const Case& c, at::ScalarType dtype, const Tensors& t, const Function& ours) {
  const double epsilon = dtype == at::kDouble ? 2e-16 : dtype == at::kFloat ? 1.2e-7 : dtype == at::kHalf ? 1e-3 : 8e-3;
  // Twice ATen's own error at this precision, plus some roundings of the largest value.
  const auto expect = [&](const at::Tensor& value, const at::Tensor& plain, const at::Tensor& truth, const std::string& what) {
    ASSERT_EQ(value.sizes(), truth.sizes()) << what;
    ASSERT_EQ(value.scalar_type(), dtype) << what;
    EXPECT_LE(largest_error(value, truth), 2.0 * largest_error(plain, truth) + 16.0 * epsilon * largest(truth)) << what;
  };
  const auto ours_at = in(t, dtype, true), plain_at = in(t, dtype, true), truth_at = in(t, at::kDouble, true);
  const auto y = ours(ours_at), plain = reference(plain_at, c.rows), truth = reference(truth_at, c.rows);
  std::vector<at::Tensor> y_grads, plain_grads, truth_grads;
  for (size_t i = 0; i < y.size(); ++i) {
    expect(y[i], plain[i], truth[i], "output " + std::to_string(i));
    y_grads.push_back(at::randn(y[i].sizes(), at::kDouble).to(dtype));
    truth_grads.push_back(y_grads[i].to(at::kDouble));
  }
  const auto gradients = [&](const std::vector<at::Tensor>& outputs, const Tensors& at, const std::vector<at::Tensor>& grads) {
    return torch::autograd::grad({outputs.begin(), outputs.begin() + static_cast<int64_t>(y.size())}, leaves_of(at), grads);
  };
  const auto g = gradients(y, ours_at, y_grads), p = gradients(plain, plain_at, y_grads),
             exact = gradients(truth, truth_at, truth_grads);
  for (size_t i = 0; i < exact.size(); ++i) expect(g[i], p[i], exact[i], "gradient " + std::to_string(i));
}

TEST_P(ShortcutLinear, EqualsThePlainComposition) {
  const auto& c = std::get<0>(GetParam());
  const auto dtype = std::get<1>(GetParam());
  expect_close(c, dtype, draw(c, dtype), [&](const Tensors& t) { return fused(t, c.rows); });
}

TEST_P(ShortcutLinear, FoldedFirstItIsTheSame) {
  auto c = std::get<0>(GetParam());
  const auto dtype = std::get<1>(GetParam());
  c.handed_out = 0, c.previous = c.branch = false;
  for (const bool dense : {false, true}) {
    expect_close(c, dtype, draw(c, dtype), [&](const Tensors& t) { return folded(t, c.rows, dense); });
  }
}

INSTANTIATE_TEST_SUITE_P(Matrix, ShortcutLinear,
                         testing::Combine(testing::ValuesIn(kCases),
                                          testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kHalf)));

const Case kSmall = {{2, 3}, 4, 6, 2, 2, {0, 4}, 3, true, true, true, true};

TEST(ShortcutLinearGradients, EqualCentralDifferences) {
  const Tensors t = in(draw(kSmall, at::kDouble), at::kDouble, true);
  const auto both = [&] {
    const auto outputs = fused(t, kSmall.rows);
    return at::cat({outputs[0].reshape(-1), outputs[1].reshape(-1)});
  };
  test::expect_gradients(both, leaves_of(t));
  Case plain = kSmall;
  plain.handed_out = 0, plain.previous = plain.branch = false;
  const Tensors f = in(draw(plain, at::kDouble), at::kDouble, true);
  for (const bool dense : {false, true}) test::expect_gradients([&] { return folded(f, plain.rows, dense)[0]; }, leaves_of(f));
}

TEST(ShortcutLinearGradients, OneOutputAloneWillDo) {
  const Tensors t = in(draw(kSmall, at::kDouble), at::kDouble, true);
  for (const size_t which : {size_t{0}, size_t{1}}) {
    const auto ours = torch::autograd::grad({fused(t, kSmall.rows)[which].sum()}, leaves_of(t), {}, false, false, true);
    const auto truth = torch::autograd::grad({reference(t, kSmall.rows)[which].sum()}, leaves_of(t), {}, false, false, true);
    for (size_t i = 0; i < truth.size(); ++i) {
      const auto expected = truth[i].defined() ? truth[i] : at::zeros_like(leaves_of(t)[i]);
      EXPECT_LE(largest_error(ours[i].defined() ? ours[i] : at::zeros_like(expected), expected), 1e-12) << which << " " << i;
    }
  }
}

TEST(ShortcutLinearGradients, CanBeDifferentiatedAgain) {
  const Tensors t = in(draw(kSmall, at::kDouble), at::kDouble, true);
  Case plain = kSmall;
  plain.handed_out = 0, plain.previous = plain.branch = false;
  const Tensors f = in(draw(plain, at::kDouble), at::kDouble, true);
  const auto first = [](const std::vector<at::Tensor>& outputs, const Tensors& at) {
    at::Tensor loss = at::zeros({}, at::kDouble);
    for (const auto& output : outputs) loss = loss + output.sin().sum();
    std::vector<at::Tensor> flat;
    for (const auto& grad : torch::autograd::grad({loss}, leaves_of(at), {}, true, /*create_graph=*/true))
      flat.push_back(grad.reshape(-1));
    return at::cat(flat);
  };
  test::expect_gradients(
      [&] {
        const at::AutoGradMode with_gradients(true);
        return first(fused(t, kSmall.rows), t);
      },
      leaves_of(t));
  for (const bool dense : {false, true}) {
    test::expect_gradients(
        [&] {
          const at::AutoGradMode with_gradients(true);
          return first(folded(f, plain.rows, dense), f);
        },
        leaves_of(f));
  }
}

TEST(ShortcutLinearGradients, OnlyWhatIsAskedForIsComputed) {
  const Tensors t = draw(kSmall, at::kFloat);
  const auto y = fused(t, kSmall.rows);
  const auto every = [&](std::array<bool, 6> mask) {
    const auto [x, b, d, u, p, z] =
        shortcut_linear_backward(y[0], y[1], t.x, t.weight, t.down, t.up, y[1], kScaling, kSmall.rows, t.branch, mask);
    return std::vector<at::Tensor>{x, b, d, u, p, z};
  };
  const auto all = every({true, true, true, true, true, true});
  for (size_t wanted = 0; wanted < 64; ++wanted) {
    std::array<bool, 6> mask{};
    for (size_t i = 0; i < 6; ++i) mask[i] = (wanted >> i & 1) != 0;
    const auto some = every(mask);
    for (size_t i = 0; i < 6; ++i) {
      ASSERT_EQ(some[i].defined(), mask[i]);
      if (mask[i]) {
        EXPECT_LE(largest_error(some[i], all[i]), 1e-6);
      }
    }
  }
}

TEST(ShortcutLinearMemory, KeepsInputFactorsAndMiddle) {
  const auto x = at::randn({32, 64}).requires_grad_(true), weight = at::randn({128, 64});
  const auto down = at::randn({4, 64}).requires_grad_(true), up = at::randn({128, 4}).requires_grad_(true);
  const auto previous = at::randn({32, 4}).requires_grad_(true);
  const int64_t factors = 4 * 64 + 128 * 4;
  EXPECT_EQ(
      bytes_saved_for_backward([&] { return std::get<0>(shortcut_linear(x, weight, {}, down, up, previous, 1.0)); }, {weight}),
      4 * (32 * 64 + factors + 32 * 4));
  EXPECT_EQ(bytes_saved_for_backward([&] { return folded_linear(x, weight, {}, down, up, 1.0); }, {weight}),
            4 * (32 * 64 + factors));
}

TEST(ShortcutLinearAutocast, CastsEverything) {
  const Tensors t = in(draw(kSmall, at::kFloat), at::kFloat, true);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto y = fused(t, kSmall.rows);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  const auto truth = reference(t, kSmall.rows);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(y[i].scalar_type(), at::kBFloat16);
    EXPECT_LE(largest_error(y[i], truth[i]), 0.03 * largest(truth[i]));
  }
  for (const auto& grad : torch::autograd::grad({y[0].sum() + y[1].sum()}, leaves_of(t)))
    EXPECT_EQ(grad.scalar_type(), at::kFloat);
}

/// Runs `call` under the CPU's autocast, to bfloat16.
template <class Call>
auto under_autocast(const Call& call) {
  at::autocast::set_autocast_enabled(at::kCPU, true);
  auto result = call();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  return result;
}

TEST(FoldedLinearAutocast, FoldsInFloat32) {
  Case c = kSmall;
  c.handed_out = 0, c.previous = c.branch = false;
  for (const bool dense : {false, true}) {
    const Tensors t = in(draw(c, at::kFloat), at::kFloat, true);
    const auto y = under_autocast([&] { return folded(t, c.rows, dense)[0]; }), truth = reference(t, c.rows)[0];
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_LE(largest_error(y, truth), 0.02 * largest(truth));
    // The same to the bit as a call that gives what autocast casts.
    Tensors lower = t;
    lower.x = t.x.to(at::kBFloat16), lower.bias = t.bias.to(at::kBFloat16);
    EXPECT_TRUE(at::equal(y, folded(lower, c.rows, dense)[0]));
    const auto twice = [&](const at::Tensor& output) {
      auto grads = torch::autograd::grad({output.to(at::kFloat).pow(2).sum()}, leaves_of(t), {}, true, /*create_graph=*/true);
      at::Tensor loss;
      for (const auto& grad : grads) loss = loss.defined() ? loss + grad.pow(2).sum() : grad.pow(2).sum();
      for (const auto& grad : torch::autograd::grad({loss}, leaves_of(t))) grads.push_back(grad);
      return grads;
    };
    const auto ours = twice(y), exact = twice(truth);
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_EQ(ours[i].scalar_type(), at::kFloat) << i;
      EXPECT_LE(largest_error(ours[i], exact[i]), 0.05 * largest(exact[i])) << i;
    }
  }
}

/// An update of a quarter of the weight's rounding: lost if the weight were rounded before it is added.
TEST(FoldedLinearAutocast, KeepsSmallUpdates) {
  at::manual_seed(2);
  const auto x = at::randn({2048, 64}).requires_grad_(true), weight = at::randn({64, 64}), grad = at::randn({2048, 64});
  const auto down = at::randn({1, 64}).requires_grad_(true), up = at::randn({64, 1}).requires_grad_(true);
  constexpr double scaling = 1e-3;  // bfloat16 has 2⁻⁸ near 1
  const auto update = (up * down * scaling).detach();
  const auto gain = [](const at::Tensor& got, const at::Tensor& expected) {
    return (got * expected).sum().item<double>() / expected.pow(2).sum().item<double>();
  };
  for (const bool dense : {false, true}) {
    const auto run = [&](double s) {
      const auto y = under_autocast([&] { return folded_linear(x, weight, {}, down, up, s, {0}, dense); });
      auto results = torch::autograd::grad({y}, {x, down, up}, {grad.to(at::kBFloat16)});
      results.push_back(y.detach().to(at::kFloat));
      return results;
    };
    const auto with = run(scaling), without = run(0.0);
    EXPECT_NEAR(gain(with[3] - without[3], at::linear(x.detach(), update)), 1.0, 0.1);
    EXPECT_NEAR(gain(with[0] - without[0], grad.mm(update)), 1.0, 0.1);
    const auto exact = torch::autograd::grad({at::linear(x, weight + up * down * scaling)}, {down, up}, {grad});
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(with[1 + i].scalar_type(), at::kFloat);
      EXPECT_LE(largest_error(with[1 + i], exact[i]), 0.02 * largest(exact[i]));
    }
  }
}

TEST(FoldedLinearAutocast, KeepsTheCastInputAndTheFactorsAsTheyAre) {
  const auto x = at::randn({32, 64}).requires_grad_(true), weight = at::randn({128, 64});
  const auto down = at::randn({4, 64}).requires_grad_(true), up = at::randn({128, 4}).requires_grad_(true);
  const auto call = [&] { return under_autocast([&] { return folded_linear(x, weight, {}, down, up, 1.0); }); };
  EXPECT_EQ(bytes_saved_for_backward(call, {weight, down, up}), 2 * 32 * 64);
}

TEST(ShortcutLinearMeta, GivesShapesAndDtypes) {
  Tensors t = draw(kSmall, at::kBFloat16);
  for (auto* tensor : {&t.x, &t.weight, &t.bias, &t.down, &t.up, &t.previous, &t.branch}) *tensor = tensor->to(at::kMeta);
  const auto y = fused(t, kSmall.rows);
  EXPECT_EQ(y[0].sizes(), at::IntArrayRef({2, 3, 6}));
  EXPECT_EQ(y[1].sizes(), at::IntArrayRef({2, 3, 7}));
  EXPECT_EQ(y[1].scalar_type(), at::kBFloat16);
  EXPECT_TRUE(y[1].is_meta());
}

void expect_error(const std::function<void()>& call, const std::string& part) {
  test::expect_error<c10::Error>(call, {part});
}

TEST(ShortcutLinearErrors, NameTheArgumentAndTheShapes) {
  const auto x = at::randn({3, 4}), weight = at::randn({6, 4}), down = at::randn({2, 4}), up = at::randn({6, 2});
  const auto call = [&](const at::Tensor& input, const at::Tensor& w, const at::Tensor& d, const at::Tensor& u,
                        const std::optional<at::Tensor>& previous = {}, std::vector<int64_t> rows = {0}) {
    return [=] { shortcut_linear(input, w, {}, d, u, previous, 1.0, rows); };
  };
  expect_error(call(at::randn({3, 5}), weight, down, up), "expected input [..., 4] for weight [6, 4], got [3, 5]");
  expect_error(call(x, weight, at::randn({2, 5}), up), "expected down [rank, 4], got [2, 5]");
  expect_error(call(x, weight, down, at::randn({6, 3})), "expected down to have at least the 3 rows");
  expect_error(call(x, weight, down, at::randn({7, 2})), "ascending starts of 1 groups of 7 output rows within 6");
  expect_error(call(x, weight, at::randn({4, 4}), at::randn({6, 2}), {}, {0, 2}),
               "ascending starts of 2 groups of 3 output rows");
  expect_error(call(x, weight, at::randn({4, 4}), at::randn({5, 2}), {}, {0, 2}),
               "expected up [groups · height, rank] for 2 groups, got [5, 2]");
  expect_error(call(x, weight, down, up, at::randn({3, 3})), "expected previous [3, 2], got [3, 3]");
  expect_error(call(x, weight, down.to(at::kDouble), up), "expected down of input's dtype Float, got Double");
  expect_error(call(x, weight, down, up, {}, {}), "at least one entry in rows");
  expect_error(call(x, weight.clone().requires_grad_(true), down, up), "the weight is frozen");
  expect_error([&] { folded_linear(x, weight, {}, at::randn({3, 4}), up, 1.0); }, "expected down to have the 2 rows");
  expect_error([&] { folded_linear(x, weight, at::randn({5}), down, up, 1.0); }, "expected bias [6], got [5]");
  expect_error([&] { folded_linear(x, weight, {}, down.to(at::kHalf), up, 1.0); },
               "expected down of input's dtype Float, got Half");
  expect_error([&] { folded_linear(x.to(at::kHalf), weight.to(at::kDouble), {}, down, up, 1.0); },
               "expected weight of input's dtype Half or float32, got Double");
}

TEST(FoldLowRank, IsTheFold) {
  const Tensors t = draw({{4}, 4, 6, 2, 2, {0, 4}, 0, false, false, false, true}, at::kFloat);
  const auto folded_weight = fold_low_rank(t.weight, t.down, t.up, kScaling, {0, 4});
  EXPECT_LE(largest_error(at::linear(t.x, folded_weight), reference(t, {0, 4})[0]), 1e-6);
  EXPECT_LE(
      largest_error(fold_low_rank(t.weight.to(at::kBFloat16), t.down.to(at::kBFloat16), t.up.to(at::kBFloat16), kScaling, {0, 4}),
                    folded_weight),
      0.02);
}

}  // namespace
}  // namespace respeft::ops
