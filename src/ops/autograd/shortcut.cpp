#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <respeft/ops/shortcut.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>

#include "src/ops/shortcut_formulas.h"

namespace respeft::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

bool given(const std::optional<Variable>& tensor) {
  return tensor.has_value() && tensor->defined();
}

void refuse_weight_gradient(const char* op, const Variable& weight) {
  TORCH_CHECK(!(at::GradMode::is_enabled() && weight.requires_grad()), op,
              ": the weight is frozen and gets no gradient, but this one requires a gradient");
}

/// True if the backward itself must be differentiable.
bool differentiated(std::initializer_list<Variable> tensors) {
  return at::GradMode::is_enabled() &&
         std::any_of(tensors.begin(), tensors.end(), [](const Variable& t) { return t.defined() && t.requires_grad(); });
}

/// Iterates over forward's tensor arguments and tells for each whether its gradient is needed.
class Wanted {
 public:
  explicit Wanted(AutogradContext* context) : context_(context) {}
  bool next(bool was_given = true) { return was_given && context_->needs_input_grad(index_++); }

 private:
  AutogradContext* context_;
  size_t index_ = 0;
};

class ShortcutLinear : public torch::autograd::Function<ShortcutLinear> {
 public:
  static variable_list forward(AutogradContext* context, const Variable& input, const Variable& weight,
                               const std::optional<Variable>& bias, const Variable& down, const Variable& up,
                               const std::optional<Variable>& previous, double scaling, std::vector<int64_t> rows,
                               const std::optional<Variable>& branch) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto [output, middle] = shortcut_linear(input, weight, bias, down, up, previous, scaling, rows, branch);
    context->save_for_backward({input, weight, down, up, middle, given(branch) ? *branch : Variable()});
    context->set_materialize_grads(false);
    context->saved_data["scaling"] = scaling;
    context->saved_data["rows"] = std::move(rows);
    context->saved_data["has_bias"] = given(bias);
    context->saved_data["has_previous"] = given(previous);
    return {output, middle};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto& [input, weight, down, up, middle, branch] = std::tie(saved[0], saved[1], saved[2], saved[3], saved[4], saved[5]);
    if (!grads[0].defined() && !grads[1].defined()) return variable_list(9);
    auto sizes = input.sym_sizes().vec();
    sizes.back() = weight.sym_size(0);
    const auto grad = grads[0].defined() ? grads[0] : at::zeros_symint(sizes, input.options());
    Wanted wanted(context);
    std::array<bool, 6> mask{};
    mask[0] = wanted.next();
    wanted.next();  // the weight
    mask[1] = wanted.next(context->saved_data["has_bias"].toBool());
    mask[2] = wanted.next(), mask[3] = wanted.next();
    mask[4] = wanted.next(context->saved_data["has_previous"].toBool());
    mask[5] = wanted.next(branch.defined());
    const auto optional = [](const Variable& tensor) { return tensor.defined() ? std::optional(tensor) : std::nullopt; };
    auto [grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch] = shortcut_linear_backward(
        grad, optional(grads[1]), input, weight, down, up, middle, context->saved_data["scaling"].toDouble(),
        context->saved_data["rows"].toIntVector(), optional(branch), mask);
    return {grad_input, Variable(), grad_bias, grad_down, grad_up, grad_previous, Variable(), Variable(), grad_branch};
  }
};

std::tuple<at::Tensor, at::Tensor> shortcut_linear_autograd(const at::Tensor& input, const at::Tensor& weight,
                                                            const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                            const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                            double scaling, at::IntArrayRef rows,
                                                            const std::optional<at::Tensor>& branch) {
  refuse_weight_gradient("shortcut_linear", weight);
  const auto outputs = ShortcutLinear::apply(input, weight, bias, down, up, previous, scaling, rows.vec(), branch);
  return {outputs[0], outputs[1]};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> shortcut_linear_backward_autograd(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> mask) {
  if (differentiated({grad_output, grad_middle.value_or(at::Tensor()), input, down, up, middle, branch.value_or(at::Tensor())})) {
    return shortcut::backward(grad_output, grad_middle, input, weight, down, up, middle, scaling, rows, branch, mask);
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return shortcut_linear_backward(grad_output, grad_middle, input, weight, down, up, middle, scaling, rows, branch, mask);
}

class FoldedLinear : public torch::autograd::Function<FoldedLinear> {
 public:
  static Variable forward(AutogradContext* context, const Variable& input, const Variable& weight,
                          const std::optional<Variable>& bias, const Variable& down, const Variable& up, double scaling,
                          std::vector<int64_t> rows, bool dense_gradient) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    auto output = folded_linear(input, weight, bias, down, up, scaling, rows, dense_gradient);
    context->save_for_backward({input, weight, down, up});
    context->saved_data["scaling"] = scaling;
    context->saved_data["rows"] = std::move(rows);
    context->saved_data["dense_gradient"] = dense_gradient;
    context->saved_data["has_bias"] = given(bias);
    return output;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    if (!grads[0].defined()) return variable_list(8);
    Wanted wanted(context);
    std::array<bool, 4> mask{};
    mask[0] = wanted.next();
    wanted.next();  // the weight
    mask[1] = wanted.next(context->saved_data["has_bias"].toBool());
    mask[2] = wanted.next(), mask[3] = wanted.next();
    auto [grad_input, grad_bias, grad_down, grad_up] =
        folded_linear_backward(grads[0], saved[0], saved[1], saved[2], saved[3], context->saved_data["scaling"].toDouble(),
                               context->saved_data["rows"].toIntVector(), context->saved_data["dense_gradient"].toBool(), mask);
    return {grad_input, Variable(), grad_bias, grad_down, grad_up, Variable(), Variable(), Variable()};
  }
};

at::Tensor folded_linear_autograd(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                  const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                                  bool dense_gradient) {
  refuse_weight_gradient("folded_linear", weight);
  return FoldedLinear::apply(input, weight, bias, down, up, scaling, rows.vec(), dense_gradient);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_linear_backward_autograd(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down,
    const at::Tensor& up, double scaling, at::IntArrayRef rows, bool dense_gradient, std::array<bool, 4> mask) {
  if (differentiated({grad_output, input, down, up})) {
    return shortcut::folded_backward(grad_output, input, weight, down, up, scaling, rows, dense_gradient, mask);
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  return folded_linear_backward(grad_output, input, weight, down, up, scaling, rows, dense_gradient, mask);
}

TORCH_LIBRARY_IMPL(respeft, Autograd, m) {
  m.impl("shortcut_linear", shortcut_linear_autograd);
  m.impl("shortcut_linear_backward", shortcut_linear_backward_autograd);
  m.impl("folded_linear", folded_linear_autograd);
  m.impl("folded_linear_backward", folded_linear_backward_autograd);
}

}  // namespace
}  // namespace respeft::ops
