#include <ATen/core/grad_mode.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/mm.h>
#include <respeft/ops/rescaled_linear.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "src/ops/rescaled_linear_check.h"

namespace respeft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

class RescaledLinear : public torch::autograd::Function<RescaledLinear> {
 public:
  static Variable forward(AutogradContext* context, const Variable& input, const Variable& weight,
                          const std::optional<Variable>& bias, const Variable& scale_in, const Variable& scale_out,
                          bool residual) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto output = rescaled_linear(input, weight, bias, scale_in, scale_out, residual);
    context->save_for_backward({input, weight, scale_in, scale_out});
    context->saved_data["residual"] = residual;
    context->saved_data["has_bias"] = bias.has_value() && bias->defined();
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto& grad = grads[0];
    if (!grad.defined()) return variable_list(6);
    // Gradients are numbered by the tensors that forward was given: 0 input, 1 weight, then the bias if there is one.
    const bool has_bias = context->saved_data["has_bias"].toBool();
    const size_t scales = has_bias ? 3 : 2;
    const std::array<bool, 4> mask = {context->needs_input_grad(0), context->needs_input_grad(scales),
                                      context->needs_input_grad(scales + 1), has_bias && context->needs_input_grad(2)};
    auto [grad_input, grad_scale_in, grad_scale_out, grad_bias] =
        rescaled_linear_backward(grad, saved[0], saved[1], saved[2], saved[3], context->saved_data["residual"].toBool(), mask);
    return {grad_input, Variable(), grad_bias, grad_scale_in, grad_scale_out, Variable()};
  }
};

at::Tensor rescaled_linear_autograd(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                    const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  TORCH_CHECK(!(at::GradMode::is_enabled() && weight.requires_grad()),
              "rescaled_linear: the weight is frozen and gets no gradient, but this one requires a gradient");
  return RescaledLinear::apply(input, weight, bias, scale_in, scale_out, residual);
}

/// The same gradients from operators that autograd can differentiate again.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> differentiable_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> mask) {
  check_rescaled_linear("rescaled_linear_backward", input, weight, std::nullopt, scale_in, scale_out);
  check_rescaled_linear_grad(grad_output, input, weight);
  const auto grad = grad_output.reshape_symint({-1, weight.sym_size(0)});
  const auto x = input.reshape_symint({-1, weight.sym_size(1)});
  at::Tensor grad_input, grad_scale_in, grad_scale_out, grad_bias;
  if (mask[0]) grad_input = grad.mm(rescale_weight(weight, scale_in, scale_out, residual)).view_symint(input.sym_sizes());
  if (mask[1] || mask[2]) {
    const auto groups = scale_groups(scale_in).expect_int();
    const auto product = (grad.t().mm(x) * weight).view({groups, -1, weight.size(1)});
    const auto in = scale_in.to(product.scalar_type()).view({groups, -1});
    const auto out = scale_out.to(product.scalar_type()).view({groups, -1});
    if (mask[1]) grad_scale_in = at::einsum("goi,go->gi", {product, out}).view_as(scale_in).to(scale_in.scalar_type());
    if (mask[2]) grad_scale_out = at::einsum("goi,gi->go", {product, in}).reshape(-1).to(scale_out.scalar_type());
  }
  if (mask[3]) grad_bias = grad.sum(0);
  return {grad_input, grad_scale_in, grad_scale_out, grad_bias};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward_autograd(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> mask) {
  const bool differentiate = at::GradMode::is_enabled() && (grad_output.requires_grad() || input.requires_grad() ||
                                                            scale_in.requires_grad() || scale_out.requires_grad());
  if (differentiate) return differentiable_backward(grad_output, input, weight, scale_in, scale_out, residual, mask);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return rescaled_linear_backward(grad_output, input, weight, scale_in, scale_out, residual, mask);
}

TORCH_LIBRARY_IMPL(respeft, Autograd, m) {
  m.impl("rescaled_linear", rescaled_linear_autograd);
  m.impl("rescaled_linear_backward", rescaled_linear_backward_autograd);
}

}  // namespace
}  // namespace respeft::ops
