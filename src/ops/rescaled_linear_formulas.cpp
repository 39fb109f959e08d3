#include "src/ops/rescaled_linear_formulas.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include "src/ops/rescaled_linear_check.h"

namespace respeft::ops::rescaled {

at::Tensor forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                   const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  check_rescaled_linear("rescaled_linear", input, weight, bias, scale_in, scale_out);
  return at::linear(input, rescale_weight(weight, scale_in, scale_out, residual), bias);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(const at::Tensor& grad_output, const at::Tensor& input,
                                                                    const at::Tensor& weight, const at::Tensor& scale_in,
                                                                    const at::Tensor& scale_out, bool residual,
                                                                    std::array<bool, 4> mask) {
  check_rescaled_linear("rescaled_linear_backward", input, weight, std::nullopt, scale_in, scale_out);
  check_rescaled_linear_grad(grad_output, input, weight);
  const auto tokens = c10::multiply_integers(input.sym_sizes().slice(0, static_cast<size_t>(input.dim() - 1)));
  const auto grad = grad_output.reshape_symint({tokens, weight.sym_size(0)});
  const auto x = input.reshape_symint({tokens, weight.sym_size(1)});
  at::Tensor grad_input, grad_scale_in, grad_scale_out, grad_bias;
  if (mask[0]) grad_input = grad.mm(rescale_weight(weight, scale_in, scale_out, residual)).view_symint(input.sym_sizes());
  if (mask[1] || mask[2]) {
    const auto groups = scale_groups(scale_in).expect_int();
    // Only G is rounded to the input's dtype; the sums are not.
    const auto dtype = at::toOpMathType(weight.scalar_type());
    const auto product = (grad.t().mm(x).to(dtype) * weight.to(dtype)).view({groups, weight.size(0) / groups, weight.size(1)});
    const auto in = scale_in.to(product.scalar_type()).view({groups, weight.size(1)});
    const auto out = scale_out.to(product.scalar_type()).view({groups, weight.size(0) / groups});
    if (mask[1]) grad_scale_in = at::einsum("goi,go->gi", {product, out}).view_as(scale_in).to(scale_in.scalar_type());
    if (mask[2]) grad_scale_out = at::einsum("goi,gi->go", {product, in}).reshape(-1).to(scale_out.scalar_type());
  }
  if (mask[3]) grad_bias = grad.sum(0);
  return {grad_input, grad_scale_in, grad_scale_out, grad_bias};
}

}  // namespace respeft::ops::rescaled
