#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "src/ops/rescaled_linear_check.h"

namespace respeft::ops {
namespace {

at::Tensor rescaled_linear_meta(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                const at::Tensor& scale_in, const at::Tensor& scale_out, bool /*residual*/) {
  check_rescaled_linear("rescaled_linear", input, weight, bias, scale_in, scale_out);
  auto sizes = input.sym_sizes().vec();
  sizes.back() = weight.sym_size(0);
  return at::empty_symint(sizes, input.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward_meta(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool /*residual*/, std::array<bool, 4> mask) {
  check_rescaled_linear("rescaled_linear_backward", input, weight, std::nullopt, scale_in, scale_out);
  check_rescaled_linear_grad(grad_output, input, weight);
  const auto like = [](bool wanted, const at::Tensor& tensor) {
    return wanted ? at::empty_symint(tensor.sym_sizes(), tensor.options()) : at::Tensor();
  };
  return {like(mask[0], input), like(mask[1], scale_in), like(mask[2], scale_out),
          mask[3] ? at::empty_symint({weight.sym_size(0)}, input.options()) : at::Tensor()};
}

TORCH_LIBRARY_IMPL(respeft, Meta, m) {
  m.impl("rescaled_linear", rescaled_linear_meta);
  m.impl("rescaled_linear_backward", rescaled_linear_backward_meta);
}

}  // namespace
}  // namespace respeft::ops
