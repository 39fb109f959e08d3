#include "tests/cuda/ops/checking.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>

namespace respeft::ops::test {

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
static double unit_roundoff(Precision precision) {
  return precision == Precision::Float32 ? 0x1p-24 : precision == Precision::BFloat16 ? 0x1p-8 : 0x1p-11;
}

std::string to_string(Way way) {
  return way == Way::Fused ? "our kernels" : way == Way::Vendor ? "the vendor's library" : "whichever is cheaper";
}

std::string to_string(Layout layout) {
  return layout == Layout::Contiguous ? "contiguous" : layout == Layout::Strided ? "strided" : "shifted";
}

static at::Tensor laid_out(const at::Tensor& tensor, Layout layout) {
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

std::vector<bool> trained(const Tensors& arguments) {
  std::vector<bool> wanted;
  for (size_t i = 0; i < arguments.size(); ++i) wanted.push_back(i != kWeight && arguments[i].defined());
  return wanted;
}

Results run(const Operator& op, const Tensors& arguments, const Tensors& seeds) {
  const at::NoGradGuard no_grad;
  const auto outputs = op.call(arguments);
  return {outputs, op.backward(arguments, outputs, seeds, trained(arguments))};
}

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

Tensors placed(const Tensors& tensors, at::Device device, at::ScalarType dtype, Layout layout,
               const std::vector<bool>& in_float) {
  Tensors result;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const bool as_float = i < in_float.size() && in_float[i];
    result.push_back(tensors[i].defined() ? laid_out(tensors[i].to(device, as_float ? at::kFloat : dtype), layout)
                                          : at::Tensor());
  }
  return result;
}

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

double roundings(Precision precision) {
  return 8.0 * unit_roundoff(precision) + 2e-6;
}

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

void expect_within(const Results& results, const Results& truth, double allowed) {
  const auto expect = [allowed](const Tensors& got, const Tensors& exact, const std::string& what) {
    for (size_t i = 0; i < exact.size(); ++i) {
      if (!exact[i].defined()) continue;
      const auto values = exact[i].to(at::kCPU, at::kDouble);
      EXPECT_LE(error_of(got[i], values), allowed * largest(values)) << what << " " << i;
    }
  };
  expect(results.outputs, truth.outputs, "output");
  expect(results.gradients, truth.gradients, "gradient of argument");
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

void OnDevice::SetUp() {
  if (const auto why = why_no_device(); !why.empty()) GTEST_SKIP() << why;
}
void InPrecision::SetUp() {
  if (const auto why = why_no_device(); !why.empty()) GTEST_SKIP() << why;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}
std::string case_and_precision_name(const testing::TestParamInfo<std::tuple<Case, Precision>>& info) {
  return std::get<0>(info.param).name + "_" + to_string(std::get<1>(info.param));
}

}  // namespace respeft::ops::test
