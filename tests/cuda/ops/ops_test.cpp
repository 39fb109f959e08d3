// The registered operators on a device: every one and its backward against float64 on the CPU.

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/cuda/ops/checking.h"
#include "tests/gradients.h"

namespace respeft::ops::test {
namespace {

class Accuracy : public InPrecision {};

TEST_P(Accuracy, IsOfTheOrderOfATens) {
  const ScopedTf32 tf32(precision() == Precision::TF32);
  for (const bool with_float : {false, true}) {
    const auto op = test_case().make(dtype(), with_float ? at::kFloat : dtype());
    const auto in_float = with_float ? op.may_be_float : std::vector<bool>{};
    if (with_float && (!is_lower(precision()) || in_float == std::vector<bool>(in_float.size(), false))) continue;
    auto seeds = draw_seeds(op, dtype());
    for (const bool every_output : {true, false}) {
      if (!every_output && seeds.size() == 1) continue;
      if (!every_output) seeds.back() = at::Tensor();
      const auto truth = differentiate(op.plain, op.arguments, seeds);
      const auto plain = differentiate(op.plain, placed(op.arguments, kDevice, dtype(), Layout::Contiguous, in_float),
                                       placed(seeds, kDevice, dtype()));
      for (const auto layout : {Layout::Contiguous, Layout::Strided, Layout::Shifted}) {
        const auto arguments = placed(op.arguments, kDevice, dtype(), layout, in_float);
        const auto placed_seeds = placed(seeds, kDevice, dtype(), layout);
        SCOPED_TRACE(to_string(layout) + (with_float ? ", some in float32" : "") + (every_output ? "" : ", first output alone"));
        for (const auto way : {Way::Fused, Way::Vendor}) {
          SCOPED_TRACE(to_string(way));
          const ScopedWay scoped(way);
          const auto results = run(op, arguments, placed_seeds);
          expect_dtypes(results, arguments);
          expect_close(results, plain, truth, precision());
          SCOPED_TRACE("through autograd");
          const auto differentiated = differentiate(op.call, arguments, placed_seeds);
          expect_dtypes(differentiated, arguments);
          expect_close(differentiated, plain, truth, precision());
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Accuracy, testing::Combine(testing::ValuesIn(all_cases()), testing::ValuesIn(kPrecisions)),
                         case_and_precision_name);

class Computing : public InPrecision {};

TEST_P(Computing, GivesTheSameBitsAgain) {
  both_ways([](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    const auto first = run(op, arguments, seeds);
    for (int again = 0; again < 3; ++again) expect_equal(run(op, arguments, seeds), first);
  });
}

TEST_P(Computing, LeavesOutWhatIsNotWanted) {
  both_ways([&](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    const at::NoGradGuard no_grad;
    const auto outputs = op.call(arguments);
    const auto can_be = trained(arguments);
    const auto all = op.backward(arguments, outputs, seeds, can_be);
    for (size_t mask = 0; mask < size_t{1} << arguments.size(); ++mask) {
      auto wanted = can_be;
      for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = wanted[i] && (mask >> i & 1) != 0;
      const auto some = op.backward(arguments, outputs, seeds, wanted);
      for (size_t i = 0; i < some.size(); ++i) {
        ASSERT_EQ(some[i].defined(), wanted[i]) << "gradient of argument " << i << ", mask " << mask;
        if (!wanted[i]) continue;
        // Not bit for bit: what is computed along with a gradient may choose its kernel.
        EXPECT_LE(error_of(some[i], all[i].to(at::kCPU, at::kDouble)), roundings(precision()) * largest(all[i].to(at::kDouble)))
            << "gradient of argument " << i << ", mask " << mask;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ops, Computing, testing::Combine(testing::ValuesIn(typical_cases()), testing::ValuesIn(kPrecisions)),
                         case_and_precision_name);

/// Calls `function` under autocast to `dtype`.
template <class Function>
auto under_autocast(at::ScalarType dtype, const Function& function) {
  const auto before = at::autocast::get_autocast_dtype(kDevice);
  at::autocast::set_autocast_dtype(kDevice, dtype);
  at::autocast::set_autocast_enabled(kDevice, true);
  auto result = function();
  at::autocast::set_autocast_enabled(kDevice, false);
  at::autocast::set_autocast_dtype(kDevice, before);
  at::autocast::clear_cache();
  return result;
}

class Autocast : public InPrecision {};

TEST_P(Autocast, CastsAndGivesGradientsInFloat32) {
  const auto op = test_case().make(at::kFloat, at::kFloat);
  const auto seeds = draw_seeds(op, dtype());
  const auto arguments = placed(op.arguments, kDevice, at::kFloat), placed_seeds = placed(seeds, kDevice, dtype());
  const auto truth = differentiate(op.plain, op.arguments, seeds);
  const auto cast = [&](const auto& function) {
    return [&](const Tensors& a) { return under_autocast(dtype(), [&] { return function(a); }); };
  };
  const auto plain = differentiate(cast(op.plain), arguments, placed_seeds),
             ours = differentiate(cast(op.call), arguments, placed_seeds);
  expect_close(ours, plain, truth, precision());
  for (const auto& output : ours.outputs) EXPECT_EQ(output.scalar_type(), dtype());
  expect_dtypes({{}, ours.gradients}, arguments);
  // The same to the bit as a call with what autocast casts: all but the arguments that may be float32.
  expect_equal({ours.outputs, {}}, {op.call(placed(arguments, kDevice, dtype(), Layout::Contiguous, op.may_be_float)), {}});
}

INSTANTIATE_TEST_SUITE_P(Ops, Autocast,
                         testing::Combine(testing::ValuesIn(typical_cases()),
                                          testing::Values(Precision::Float16, Precision::BFloat16)),
                         case_and_precision_name);

class Float64 : public OnDevice {};

TEST_P(Float64, EqualsFloat64OnTheCpu) {
  const auto op = GetParam().make(at::kDouble, at::kDouble);
  const auto seeds = draw_seeds(op, at::kDouble);
  const auto truth = differentiate(op.plain, op.arguments, seeds);
  const auto ours = differentiate(op.call, placed(op.arguments, kDevice, at::kDouble), placed(seeds, kDevice, at::kDouble));
  expect_within(ours, truth, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Ops, Float64, testing::ValuesIn(all_cases()), case_name);

/// The gradients equal central differences.
class Gradients : public Float64 {};

TEST_P(Gradients, EqualCentralDifferences) {
  const auto op = GetParam().make(at::kDouble, at::kDouble);
  auto arguments = placed(op.arguments, kDevice, at::kDouble);
  Tensors leaves;
  for (size_t i = 0; i < arguments.size(); ++i)
    if (i != kWeight && arguments[i].defined()) leaves.push_back(arguments[i].requires_grad_(true));
  respeft::test::expect_gradients(
      [&] {
        Tensors flat;
        for (const auto& output : op.call(arguments)) flat.push_back(output.reshape(-1));
        return at::cat(flat);
      },
      leaves);
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradients, testing::ValuesIn(small_cases()), case_name);

}  // namespace
}  // namespace respeft::ops::test
