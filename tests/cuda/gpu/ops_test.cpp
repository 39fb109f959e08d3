// The registered operators on a GPU: every one and its backward against float64 on the CPU.

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/cuda/CUDAGraph.h>
#include <ATen/cuda/Sleep.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <gtest/gtest.h>
#include <respeft/ops/rescaled_linear.h>
#include <respeft/ops/shortcut.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "src/ops/cuda/device.h"
#include "tests/cuda/gpu/device.h"
#include "tests/expect_error.h"
#include "tests/gradients.h"

namespace respeft::ops {
namespace {

using cuda::ScopedWay;
using cuda::Way;

constexpr auto kDevice = at::kCUDA;
constexpr double kScaling = 0.75;

// ---- Precisions, ways, layouts ------------------------------------------------------------------------------------------------

enum class Precision { Float32, TF32, Float16, BFloat16 };
const std::vector<Precision> kPrecisions = {Precision::Float32, Precision::TF32, Precision::Float16, Precision::BFloat16};

std::string to_string(Precision precision) {
  static const char* const names[] = {"Float32", "TF32", "Float16", "BFloat16"};
  return names[static_cast<size_t>(precision)];
}
at::ScalarType dtype_of(Precision precision) {
  return precision == Precision::Float16 ? at::kHalf : precision == Precision::BFloat16 ? at::kBFloat16 : at::kFloat;
}
bool is_lower(Precision precision) {
  return dtype_of(precision) != at::kFloat;
}
double unit_roundoff(Precision precision) {
  return precision == Precision::Float32 ? 0x1p-24 : precision == Precision::BFloat16 ? 0x1p-8 : 0x1p-11;
}

/// Allows TF32 or forbids it while it lives.
class ScopedTf32 {
 public:
  explicit ScopedTf32(bool allowed) : before_(at::globalContext().allowTF32CuBLAS()) {
    at::globalContext().setAllowTF32CuBLAS(allowed);
  }
  ScopedTf32(const ScopedTf32&) = delete;
  ScopedTf32& operator=(const ScopedTf32&) = delete;
  ~ScopedTf32() { at::globalContext().setAllowTF32CuBLAS(before_); }

 private:
  bool before_;
};

std::string to_string(Way way) {
  return way == Way::Fused ? "our kernels" : way == Way::Vendor ? "the vendor's library" : "whichever is cheaper";
}

/// How a tensor lies in memory.
enum class Layout {
  Contiguous,
  Strided,  ///< every other element of a row, between NaNs
  Shifted,  ///< contiguous, and not aligned to 16 bytes
};

std::string to_string(Layout layout) {
  return layout == Layout::Contiguous ? "contiguous" : layout == Layout::Strided ? "strided" : "shifted";
}

at::Tensor laid_out(const at::Tensor& tensor, Layout layout) {
  if (!tensor.defined() || layout == Layout::Contiguous) return tensor;
  auto sizes = tensor.sizes().vec();
  at::Tensor view;
  if (layout == Layout::Strided) {
    sizes.back() *= 2;
    view = at::full(sizes, std::numeric_limits<double>::quiet_NaN(), tensor.options()).slice(-1, 0, c10::nullopt, 2);
  } else {
    view = at::empty({tensor.numel() + 1}, tensor.options()).narrow(0, 1, tensor.numel()).view(sizes);
  }
  view.copy_(tensor);
  return view;
}

// ---- Operators ----------------------------------------------------------------------------------------------------------------

/// Tensors by their position in an operator's schema, or its results; undefined where there is none.
using Tensors = std::vector<at::Tensor>;
constexpr size_t kInput = 0, kWeight = 1;  // the weight is frozen

/// An operator with arguments on the CPU in float64, whose values the dtypes of a test hold exactly.
struct Operator {
  Tensors arguments;
  std::vector<bool> may_be_float;  ///< of an argument: whether it may have float32 beside an input of lower precision
  std::function<Tensors(const Tensors&arguments)> call, plain;  ///< `plain`: the same in ATen's operators
  /// The gradients of the arguments that are wanted, from the outputs' (`seeds`).
  std::function<Tensors(const Tensors& arguments, const Tensors& outputs, const Tensors& seeds, const std::vector<bool>& wanted)>
      backward;
};

/// Makes an operator whose arguments hold values of `dtype`, and those that may be float32 of `beside`.
using Maker = std::function<Operator(at::ScalarType dtype, at::ScalarType beside)>;

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

at::Tensor draw(std::vector<int64_t> leading, const std::vector<int64_t>& sizes, double scale, at::ScalarType dtype) {
  leading.insert(leading.end(), sizes.begin(), sizes.end());
  return (at::randn(leading, at::kDouble) * scale).to(dtype).to(at::kDouble);
}

struct RescaledCase {
  std::vector<int64_t> leading;
  int64_t in, out, groups;
  bool residual, bias;
};

Tensors plain_rescaled(const Tensors& a, bool residual) {
  const auto dtype = a[kInput].scalar_type();
  const auto in = a[3].to(dtype), out = a[4].to(dtype);
  const auto rows = in.dim() == 2 ? in.repeat_interleave(a[kWeight].size(0) / in.size(0), 0) : in.unsqueeze(0);
  const auto factor = out.unsqueeze(1) * rows;
  return {at::linear(a[kInput], a[kWeight] * (residual ? factor + 1.0 : factor), a[2])};
}

Operator rescaled(const RescaledCase& c, at::ScalarType dtype, at::ScalarType beside) {
  at::manual_seed(7);
  const auto in_sizes = c.groups == 1 ? std::vector<int64_t>{c.in} : std::vector<int64_t>{c.groups, c.in};
  const bool residual = c.residual;
  Operator op;
  op.arguments = {draw(c.leading, {c.in}, 1.0, dtype), draw({}, {c.out, c.in}, 0.3, dtype),
                  c.bias ? draw({}, {c.out}, 1.0, dtype) : at::Tensor(), draw({}, in_sizes, 0.5, beside),
                  draw({}, {c.out}, 0.5, beside)};
  op.may_be_float = {false, false, false, true, true};
  op.call = [=](const Tensors& a) { return Tensors{rescaled_linear(a[0], a[1], optional(a[2]), a[3], a[4], residual)}; };
  op.plain = [=](const Tensors& a) { return plain_rescaled(a, residual); };
  op.backward = [=](const Tensors& a, const Tensors&, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, in, out, bias] =
        rescaled_linear_backward(seeds[0], a[0], a[1], a[3], a[4], residual, {wanted[0], wanted[3], wanted[4], wanted[2]});
    return Tensors{x, {}, bias, in, out};
  };
  return op;
}

struct UpdateCase {
  std::vector<int64_t> leading;
  int64_t in, out, height, rank;
  std::vector<int64_t> rows;
  int64_t handed_out;  ///< rows of `down` beyond those that `up` reads
  bool bias, previous, branch;
};

/// One group after the other.
Tensors plain_shortcut(const Tensors& a, at::IntArrayRef rows) {
  const auto &x = a[kInput], &weight = a[kWeight], &down = a[3], &up = a[4], &previous = a[5], &branch = a[6];
  const int64_t count = static_cast<int64_t>(rows.size()), height = up.size(0) / count, rank = up.size(1);
  auto middle = at::linear(branch.defined() ? branch : x, down);
  if (previous.defined()) middle = middle + at::constant_pad_nd(previous, {0, down.size(0) - count * rank});
  auto output = at::linear(x, weight, a[2]);
  for (int64_t g = 0; g < count; ++g) {
    const auto update = kScaling * at::matmul(middle.narrow(-1, g * rank, rank), up.narrow(0, g * height, height).t());
    const int64_t row = rows[static_cast<size_t>(g)];
    output = output + at::constant_pad_nd(update, {row, weight.size(0) - row - height});
  }
  return {output, middle};
}

Tensors plain_folded(const Tensors& a, at::IntArrayRef rows) {
  const auto &weight = a[kWeight], &down = a[3], &up = a[4];
  const int64_t count = static_cast<int64_t>(rows.size()), height = up.size(0) / count, rank = up.size(1);
  auto folded = weight;
  for (int64_t g = 0; g < count; ++g) {
    const auto update = kScaling * at::matmul(up.narrow(0, g * height, height), down.narrow(0, g * rank, rank));
    const int64_t row = rows[static_cast<size_t>(g)];
    folded = folded + at::constant_pad_nd(update, {0, 0, row, weight.size(0) - row - height});
  }
  return {at::linear(a[kInput], folded.to(a[kInput].scalar_type()), a[2])};
}

Tensors update_arguments(const UpdateCase& c, at::ScalarType dtype, at::ScalarType beside) {
  at::manual_seed(7);
  const int64_t groups = static_cast<int64_t>(c.rows.size()), used = c.rank * groups;
  return {draw(c.leading, {c.in}, 1.0, dtype),
          draw({}, {c.out, c.in}, 0.3, beside),
          c.bias ? draw({}, {c.out}, 1.0, dtype) : at::Tensor(),
          draw({}, {used + c.handed_out, c.in}, 0.3, beside),
          draw({}, {c.height * groups, c.rank}, 0.5, beside),
          c.previous ? draw(c.leading, {used}, 1.0, dtype) : at::Tensor(),
          c.branch ? draw(c.leading, {c.in}, 1.0, dtype) : at::Tensor()};
}

Operator shortcut(const UpdateCase& c, at::ScalarType dtype) {
  const auto rows = c.rows;
  Operator op;
  op.arguments = update_arguments(c, dtype, dtype);
  op.may_be_float = std::vector<bool>(op.arguments.size(), false);
  op.call = [=](const Tensors& a) {
    const auto [output, middle] =
        shortcut_linear(a[0], a[1], optional(a[2]), a[3], a[4], optional(a[5]), kScaling, rows, optional(a[6]));
    return Tensors{output, middle};
  };
  op.plain = [=](const Tensors& a) { return plain_shortcut(a, rows); };
  op.backward = [=](const Tensors& a, const Tensors& outputs, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, bias, down, up, previous, branch] =
        shortcut_linear_backward(seeds[0], optional(seeds[1]), a[0], a[1], a[3], a[4], outputs[1], kScaling, rows, optional(a[6]),
                                 {wanted[0], wanted[2], wanted[3], wanted[4], wanted[5], wanted[6]});
    return Tensors{x, {}, bias, down, up, previous, branch};
  };
  return op;
}

Operator folded(UpdateCase c, bool dense, at::ScalarType dtype, at::ScalarType beside) {
  c.handed_out = 0, c.previous = c.branch = false;
  const auto rows = c.rows;
  Operator op;
  op.arguments = update_arguments(c, dtype, beside);
  op.arguments.resize(5);
  op.may_be_float = {false, true, false, true, true};
  op.call = [=](const Tensors& a) {
    return Tensors{folded_linear(a[0], a[1], optional(a[2]), a[3], a[4], kScaling, rows, dense)};
  };
  op.plain = [=](const Tensors& a) { return plain_folded(a, rows); };
  op.backward = [=](const Tensors& a, const Tensors&, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, bias, down, up] = folded_linear_backward(seeds[0], a[0], a[1], a[3], a[4], kScaling, rows, dense,
                                                            {wanted[0], wanted[2], wanted[3], wanted[4]});
    return Tensors{x, {}, bias, down, up};
  };
  return op;
}

// ---- Running one --------------------------------------------------------------------------------------------------------------

struct Results {
  Tensors outputs, gradients;  ///< gradients by argument; undefined for the weight
};

std::vector<bool> trained(const Tensors& arguments) {
  std::vector<bool> wanted;
  for (size_t i = 0; i < arguments.size(); ++i) wanted.push_back(i != kWeight && arguments[i].defined());
  return wanted;
}

/// The operator and its backward, without autograd.
Results run(const Operator& op, const Tensors& arguments, const Tensors& seeds) {
  const at::NoGradGuard no_grad;
  const auto outputs = op.call(arguments);
  return {outputs, op.backward(arguments, outputs, seeds, trained(arguments))};
}

/// `function` and its gradients by autograd.
Results differentiate(const std::function<Tensors(const Tensors&)>& function, Tensors arguments, const Tensors& seeds) {
  Tensors leaves;
  const auto wanted = trained(arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!wanted[i]) continue;
    arguments[i] = arguments[i].detach().requires_grad_(true);
    leaves.push_back(arguments[i]);
  }
  Results results{function(arguments), Tensors(arguments.size())};
  Tensors outputs, gradients;
  for (size_t i = 0; i < seeds.size(); ++i) {
    if (!seeds[i].defined()) continue;
    outputs.push_back(results.outputs[i]);
    gradients.push_back(seeds[i].to(results.outputs[i].scalar_type()));
  }
  auto computed = torch::autograd::grad(outputs, leaves, gradients);
  for (size_t i = 0, next = 0; i < arguments.size(); ++i)
    if (wanted[i]) results.gradients[i] = computed[next++];
  for (auto& output : results.outputs) output = output.detach();
  return results;
}

/// Arguments or seeds on a device, in the dtypes and the layout of a test.
Tensors placed(const Tensors& tensors, at::Device device, at::ScalarType dtype, Layout layout = Layout::Contiguous,
               const std::vector<bool>& in_float = {}) {
  Tensors result;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool as_float = i < in_float.size() && in_float[i];
    result.push_back(tensors[i].defined() ? laid_out(tensors[i].to(device, as_float ? at::kFloat : dtype), layout)
                                          : at::Tensor());
  }
  return result;
}

/// Random gradients of the outputs, on the CPU in float64, whose values `dtype` holds.
Tensors draw_seeds(const Operator& op, at::ScalarType dtype) {
  at::manual_seed(11);
  const at::NoGradGuard no_grad;
  Tensors seeds;
  for (const auto& output : op.plain(op.arguments)) seeds.push_back(draw(output.sizes().vec(), {}, 1.0, dtype));
  return seeds;
}

double largest(const at::Tensor& tensor) {
  return tensor.numel() == 0 ? 0.0 : tensor.abs().max().item<double>();
}
double error_of(const at::Tensor& tensor, const at::Tensor& truth) {
  return largest(tensor.detach().to(at::kCPU, at::kDouble) - truth);
}

/// A few roundings, and those of sums in float32, relative to the largest value.
double roundings(Precision precision) {
  return 8.0 * unit_roundoff(precision) + 2e-6;
}

/// Within twice ATen's own error at this precision, and a few roundings.
void expect_close(const Results& ours, const Results& plain, const Results& truth, Precision precision) {
  const auto expect = [&](const Tensors& got, const Tensors& rival, const Tensors& exact, const std::string& what) {
    ASSERT_EQ(got.size(), exact.size());
    for (size_t i = 0; i < exact.size(); ++i) {
      ASSERT_EQ(got[i].defined(), exact[i].defined()) << what << " " << i;
      if (!exact[i].defined()) continue;
      ASSERT_EQ(got[i].sizes(), exact[i].sizes()) << what << " " << i;
      const double allowed = 2.0 * error_of(rival[i], exact[i]) + roundings(precision) * largest(exact[i]);
      EXPECT_LE(error_of(got[i], exact[i]), allowed) << what << " " << i << ", up to " << largest(exact[i]);
    }
  };
  expect(ours.outputs, plain.outputs, truth.outputs, "output");
  expect(ours.gradients, plain.gradients, truth.gradients, "gradient of argument");
}

void expect_dtypes(const Results& results, const Tensors& arguments) {
  for (const auto& output : results.outputs) {
    EXPECT_EQ(output.scalar_type(), arguments[kInput].scalar_type());
    EXPECT_EQ(output.device(), arguments[kInput].device());
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!results.gradients[i].defined()) continue;
    EXPECT_EQ(results.gradients[i].scalar_type(), arguments[i].scalar_type()) << "gradient of argument " << i;
    EXPECT_EQ(results.gradients[i].device(), arguments[i].device()) << "gradient of argument " << i;
  }
}

void expect_equal(const Results& a, const Results& b) {
  const auto expect = [](const Tensors& left, const Tensors& right, const std::string& what) {
    for (size_t i = 0; i < left.size(); ++i) {
      if (!left[i].defined()) continue;
      EXPECT_TRUE(at::equal(left[i], right[i])) << what << " " << i;
    }
  };
  expect(a.outputs, b.outputs, "output");
  expect(a.gradients, b.gradients, "gradient of argument");
}

// ---- Cases: one, odd, aligned, groups, nothing --------------------------------------------------------------------------------

const std::vector<RescaledCase> kRescaledCases = {
    {{}, 5, 3, 1, true, true},           {{0}, 5, 3, 1, true, true},          {{1}, 1, 1, 1, true, false},
    {{7}, 33, 65, 1, true, true},        {{2, 3}, 17, 12, 3, true, true},     {{2, 3}, 17, 12, 3, false, true},
    {{3, 1, 5}, 24, 40, 2, true, false}, {{2, 0, 4}, 8, 6, 3, true, true},    {{9}, 64, 129, 3, false, false},
    {{4}, 0, 6, 1, true, true},          {{4}, 6, 0, 1, true, true},          {{13}, 96, 288, 3, true, true},
    {{600}, 24, 140, 1, true, true},     {{2, 65}, 136, 264, 3, true, false}, {{2, 197}, 384, 1152, 3, true, true},
};

const std::vector<UpdateCase> kUpdateCases = {
    {{}, 5, 3, 3, 2, {0}, 0, true, false, false},
    {{0}, 5, 3, 3, 2, {0}, 1, true, true, false},
    {{1}, 1, 1, 1, 1, {0}, 0, false, false, false},
    {{7}, 33, 65, 65, 1, {0}, 0, true, true, false},
    {{2, 3}, 17, 12, 4, 3, {0, 4, 8}, 0, true, true, false},
    {{2, 3}, 17, 12, 4, 3, {0, 8}, 6, false, true, false},
    {{3, 1, 5}, 24, 40, 10, 8, {30}, 8, true, true, true},
    {{2, 0, 4}, 8, 6, 2, 2, {2, 4}, 2, true, false, true},
    {{9}, 64, 129, 43, 5, {43}, 0, false, false, true},
    {{4}, 0, 6, 6, 2, {0}, 0, true, true, false},
    {{4}, 6, 0, 0, 2, {0}, 0, true, true, false},
    {{13}, 96, 288, 96, 7, {0, 96, 192}, 21, true, true, true},
    {{11}, 20, 36, 4, 2, {0, 4, 8, 12, 16, 20, 24, 28, 32}, 0, true, true, false},  // more groups than the kernels take
    {{2, 65}, 136, 264, 88, 40, {0, 176}, 16, true, true, false},
    {{2, 197}, 384, 1152, 384, 8, {0, 384, 768}, 24, true, true, false},
};

struct Case {
  std::string name;
  Maker make;
};

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (size_t i = 0; i < kRescaledCases.size(); ++i) {
    all.push_back({"Rescaled" + std::to_string(i),
                   [i](at::ScalarType dtype, at::ScalarType beside) { return rescaled(kRescaledCases[i], dtype, beside); }});
  }
  for (size_t i = 0; i < kUpdateCases.size(); ++i) {
    const auto number = std::to_string(i);
    all.push_back({"Shortcut" + number, [i](at::ScalarType dtype, at::ScalarType) { return shortcut(kUpdateCases[i], dtype); }});
    for (const bool dense : {false, true}) {
      all.push_back({(dense ? "FoldedDense" : "Folded") + number, [i, dense](at::ScalarType dtype, at::ScalarType beside) {
                       return folded(kUpdateCases[i], dense, dtype, beside);
                     }});
    }
  }
  return all;
}

/// One of each operator, of a size that fills several tiles.
std::vector<Case> typical_cases() {
  static const RescaledCase layer{{2, 65}, 96, 288, 3, true, true};
  static const UpdateCase update{{2, 65}, 96, 288, 96, 8, {0, 96, 192}, 16, true, true, false};
  static const UpdateCase branched{{2, 65}, 96, 288, 96, 8, {96}, 0, true, false, true};
  return {{"Rescaled", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(layer, dtype, beside); }},
          {"Shortcut", [](at::ScalarType dtype, at::ScalarType) { return shortcut(update, dtype); }},
          {"ShortcutBranch", [](at::ScalarType dtype, at::ScalarType) { return shortcut(branched, dtype); }},
          {"Folded", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, false, dtype, beside); }},
          {"FoldedDense", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, true, dtype, beside); }}};
}

class OnGpu : public testing::TestWithParam<std::tuple<Case, Precision>> {
 protected:
  void SetUp() override {
    if (const auto why = ::respeft::cuda::test::why_no_device(); !why.empty()) GTEST_SKIP() << why;
  }
  const Case& test_case() const { return std::get<0>(GetParam()); }
  Precision precision() const { return std::get<1>(GetParam()); }
  at::ScalarType dtype() const { return dtype_of(precision()); }
};

std::string name_of(const testing::TestParamInfo<std::tuple<Case, Precision>>& info) {
  return std::get<0>(info.param).name + "_" + to_string(std::get<1>(info.param));
}
void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}
void PrintTo(Precision precision, std::ostream* stream) {
  *stream << to_string(precision);
}

// ---- Tests --------------------------------------------------------------------------------------------------------------------

class Accuracy : public OnGpu {};

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
                         name_of);

class Computing : public OnGpu {
 protected:
  /// Calls check(operator, arguments, seeds) for either way.
  template <class Check>
  void both_ways(const Check& check) const {
    const ScopedTf32 tf32(precision() == Precision::TF32);
    const auto op = test_case().make(dtype(), dtype());
    const auto arguments = placed(op.arguments, kDevice, dtype()), seeds = placed(draw_seeds(op, dtype()), kDevice, dtype());
    for (const auto way : {Way::Fused, Way::Vendor}) {
      SCOPED_TRACE(to_string(way));
      const ScopedWay scoped(way);
      check(op, arguments, seeds);
    }
  }
};

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

TEST_P(Computing, RunsOnTheCurrentStream) {
  constexpr int64_t cycles = 100'000'000;  // some 50 ms
  both_ways([&](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    const auto expected = run(op, arguments, seeds);
    auto late = arguments;
    late[kInput] = at::empty_like(arguments[kInput]);
    Results results;
    {
      const auto stream = c10::cuda::getStreamFromPool();
      c10::cuda::device_synchronize();
      const c10::cuda::CUDAStreamGuard guard(stream);
      for (const bool asleep : {false, true}) {  // first whatever is prepared once, which may wait for the device
        late[kInput].zero_();
        stream.synchronize();
        if (asleep) at::cuda::sleep(cycles);
        late[kInput].copy_(arguments[kInput]);
        results = run(op, late, seeds);
      }
      EXPECT_FALSE(stream.query()) << "the stream did not sleep long enough for this test to mean anything";
      stream.synchronize();
    }
    const auto close = [&](const Tensors& got, const Tensors& exact) {
      for (size_t i = 0; i < exact.size(); ++i) {
        if (!exact[i].defined()) continue;
        EXPECT_LE(error_of(got[i], exact[i].to(at::kCPU, at::kDouble)),
                  roundings(precision()) * largest(exact[i].to(at::kDouble)))
            << i;
      }
    };
    close(results.outputs, expected.outputs);
    close(results.gradients, expected.gradients);
  });
}

/// Captures `compute`, changes its arguments in place, replays it, and expects what it gives outside the graph.
void expect_captured(const Tensors& arguments, const std::function<Results()>& compute) {
  const auto stream = c10::cuda::getStreamFromPool();
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard guard(stream);
  for (int i = 0; i < 3; ++i) compute();
  stream.synchronize();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto captured = compute();
  graph.capture_end();
  for (const double factor : {-0.5, 2.0}) {  // exact in every dtype
    for (const auto& argument : arguments)
      if (argument.defined()) argument.mul_(factor);
    graph.replay();
    stream.synchronize();
    const auto eager = compute();
    stream.synchronize();
    expect_equal(captured, eager);
  }
}

TEST_P(Computing, CanBeCapturedInAGraph) {
  both_ways([](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    expect_captured(arguments, [&] { return run(op, arguments, seeds); });
  });
}

TEST_P(Computing, CanBeCapturedInAGraphWithAutograd) {
  both_ways([](const Operator& op, const Tensors& arguments, const Tensors& seeds) {
    expect_captured(arguments, [&] { return differentiate(op.call, arguments, seeds); });
  });
}

TEST_P(Computing, RunsOnTheDeviceOfItsArguments) {
  if (c10::cuda::device_count() < 2) GTEST_SKIP() << "no second CUDA device";
  const ScopedTf32 tf32(precision() == Precision::TF32);
  const auto op = test_case().make(dtype(), dtype());
  const auto seeds = draw_seeds(op, dtype());
  const at::Device second(kDevice, 1);
  ASSERT_EQ(c10::cuda::current_device(), 0);
  const auto arguments = placed(op.arguments, second, dtype()), placed_seeds = placed(seeds, second, dtype());
  const auto truth = differentiate(op.plain, op.arguments, seeds), plain = differentiate(op.plain, arguments, placed_seeds);
  for (const auto way : {Way::Fused, Way::Vendor}) {
    SCOPED_TRACE(to_string(way));
    const ScopedWay scoped(way);
    const auto results = run(op, arguments, placed_seeds);
    expect_dtypes(results, arguments);
    expect_close(results, plain, truth, precision());
    EXPECT_EQ(c10::cuda::current_device(), 0);
  }
  expect_close(differentiate(op.call, arguments, placed_seeds), plain, truth, precision());
}

INSTANTIATE_TEST_SUITE_P(Ops, Computing, testing::Combine(testing::ValuesIn(typical_cases()), testing::ValuesIn(kPrecisions)),
                         name_of);

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

class Autocast : public OnGpu {};

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
                         name_of);

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

class Float64 : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const auto why = ::respeft::cuda::test::why_no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(Float64, EqualsTheCpu) {
  const auto op = GetParam().make(at::kDouble, at::kDouble);
  const auto seeds = draw_seeds(op, at::kDouble);
  const auto truth = differentiate(op.plain, op.arguments, seeds);
  const auto ours = differentiate(op.call, placed(op.arguments, kDevice, at::kDouble), placed(seeds, kDevice, at::kDouble));
  const auto close = [](const Tensors& got, const Tensors& exact) {
    for (size_t i = 0; i < exact.size(); ++i) {
      if (!exact[i].defined()) continue;
      EXPECT_LE(error_of(got[i], exact[i]), 1e-12 * largest(exact[i])) << i;
    }
  };
  close(ours.outputs, truth.outputs);
  close(ours.gradients, truth.gradients);
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
  test::expect_gradients(
      [&] {
        Tensors flat;
        for (const auto& output : op.call(arguments)) flat.push_back(output.reshape(-1));
        return at::cat(flat);
      },
      leaves);
}

std::vector<Case> small_cases() {
  static const RescaledCase one{{2, 3}, 5, 6, 1, true, true}, three{{2, 3}, 5, 6, 3, false, true};
  static const UpdateCase update{{2, 3}, 4, 6, 2, 2, {0, 4}, 3, true, true, true};
  return {{"Rescaled", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(one, dtype, beside); }},
          {"RescaledGroups", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(three, dtype, beside); }},
          {"Shortcut", [](at::ScalarType dtype, at::ScalarType) { return shortcut(update, dtype); }},
          {"Folded", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, false, dtype, beside); }},
          {"FoldedDense", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, true, dtype, beside); }}};
}

INSTANTIATE_TEST_SUITE_P(Ops, Gradients, testing::ValuesIn(small_cases()), case_name);

class Errors : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const auto why = ::respeft::cuda::test::why_no_device(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(Errors, NameAnArgumentOnAnotherDevice) {
  const auto op = GetParam().make(at::kFloat, at::kFloat);
  auto arguments = placed(op.arguments, kDevice, at::kFloat);
  arguments[kWeight] = arguments[kWeight].cpu();
  test::expect_error<c10::Error>([&] { op.call(arguments); }, {"expected weight on cuda:0 as input is, got cpu"});
}

INSTANTIATE_TEST_SUITE_P(Ops, Errors, testing::ValuesIn(small_cases()), case_name);

}  // namespace
}  // namespace respeft::ops
