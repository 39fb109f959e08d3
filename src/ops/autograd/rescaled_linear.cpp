#include <ATen/core/grad_mode.h>
#include <respeft/ops/rescaled_linear.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "src/ops/rescaled_linear_formulas.h"

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
    // Gradients are numbered by forward's tensor arguments: 0 input, 1 weight, then the bias if there is one.
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

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward_autograd(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> mask) {
  const bool differentiate = at::GradMode::is_enabled() && (grad_output.requires_grad() || input.requires_grad() ||
                                                            scale_in.requires_grad() || scale_out.requires_grad());
  if (differentiate) return rescaled::backward(grad_output, input, weight, scale_in, scale_out, residual, mask);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return rescaled_linear_backward(grad_output, input, weight, scale_in, scale_out, residual, mask);
}

TORCH_LIBRARY_IMPL(respeft, Autograd, m) {
  m.impl("rescaled_linear", rescaled_linear_autograd);
  m.impl("rescaled_linear_backward", rescaled_linear_backward_autograd);
}

}  // namespace
}  // namespace respeft::ops
