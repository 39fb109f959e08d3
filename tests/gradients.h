#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <vector>

namespace respeft::test {

/// Expects the gradients of `function` (its output dotted with fixed random numbers) with respect to every one of `inputs`
/// (float64 leaves that require a gradient) to equal central differences.
inline void expect_gradients(const std::function<at::Tensor()>& function, const std::vector<at::Tensor>& inputs,
                             double tolerance = 1e-6) {
  const auto output = function();
  const auto direction = at::randn_like(output);
  const auto gradients = torch::autograd::grad({(output * direction).sum()}, inputs);
  const at::NoGradGuard no_grad;
  constexpr double step = 1e-6;
  for (size_t k = 0; k < inputs.size(); ++k) {
    ASSERT_EQ(inputs[k].scalar_type(), at::kDouble);
    auto flat = inputs[k].view(-1);
    auto numeric = at::zeros_like(flat);
    for (int64_t i = 0; i < flat.numel(); ++i) {
      const double value = flat[i].item<double>();
      flat[i] = value + step;
      const auto above = (function() * direction).sum().item<double>();
      flat[i] = value - step;
      const auto below = (function() * direction).sum().item<double>();
      flat[i] = value;
      numeric[i] = (above - below) / (2.0 * step);
    }
    const auto error = numeric.numel() == 0 ? 0.0 : (numeric - gradients[k].reshape(-1)).abs().max().item<double>();
    const auto size = numeric.numel() == 0 ? 0.0 : numeric.abs().max().item<double>();
    EXPECT_LE(error, tolerance * std::max(1.0, size)) << "gradient of input " << k;
  }
}

}  // namespace respeft::test
