#include "src/methods/updated_linear.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace respeft::methods {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

/// Carries the function from forward to backward.
struct Carried : torch::CustomClassHolder {
  explicit Carried(UpdateOf function) : update(std::move(function)) {}
  UpdateOf update;
};

at::Tensor as_matrix(const at::Tensor& tensor) {
  return tensor.reshape({-1, tensor.size(-1)});
}

/// W + Δ in the precision of the product; the sum is made before it is rounded, or small updates would be lost.
at::Tensor updated(const at::Tensor& weight, const at::Tensor& update, const at::Tensor& x) {
  return (weight + update).to(x.scalar_type());
}

class UpdatedLinear : public torch::autograd::Function<UpdatedLinear> {
 public:
  static Variable forward(AutogradContext* context, const Variable& x, const Variable& weight,
                          const std::optional<Variable>& bias, const at::TensorList factors,
                          const c10::intrusive_ptr<Carried>& carried) {
    const at::AutoDispatchBelowADInplaceOrView below_autograd;
    variable_list saved = {x, weight};
    saved.insert(saved.end(), factors.begin(), factors.end());
    context->save_for_backward(saved);
    context->saved_data["update"] = c10::IValue::make_capsule(carried);
    context->saved_data["bias"] = bias.has_value();
    return at::linear(x, updated(weight, carried->update(factors.vec()), x), bias);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto &x = saved[0], &weight = saved[1];
    const auto capsule = context->saved_data["update"].toCapsule();
    const auto& update_of = static_cast<const Carried&>(*capsule).update;
    const bool biased = context->saved_data["bias"].toBool();
    const bool again = at::GradMode::is_enabled();  // the gradients themselves are to be differentiated
    const auto grad = as_matrix(grads[0]);
    Factors factors(saved.begin() + 2, saved.end()), wanted;
    std::vector<size_t> places;  // of the wanted ones in what is returned: x, weight, bias, factors, and the function
    for (size_t i = 0; i < factors.size(); ++i) {
      if (!context->needs_input_grad(2 + (biased ? 1 : 0) + i)) continue;
      if (!again) factors[i] = factors[i].detach().requires_grad_(true);
      wanted.push_back(factors[i]), places.push_back(3 + i);
    }
    at::Tensor update;
    {
      const at::AutoGradMode with_grad(!wanted.empty());
      update = update_of(factors);
    }
    variable_list results(4 + factors.size());
    if (context->needs_input_grad(0)) results[0] = grad.mm(updated(weight, again ? update : update.detach(), x)).view(x.sizes());
    if (biased && context->needs_input_grad(2)) results[2] = grad.sum(0);
    if (wanted.empty()) return results;
    const auto product = grad.t().mm(as_matrix(x)).to(update.scalar_type());
    const auto found = torch::autograd::grad({update}, wanted, {product}, /*retain_graph=*/again, /*create_graph=*/again);
    for (size_t i = 0; i < places.size(); ++i) results[places[i]] = found[i];
    return results;
  }
};

}  // namespace

at::Tensor updated_linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                          const Factors& factors, const UpdateOf& update) {
  const auto carried = c10::make_intrusive<Carried>(update);
  const auto device = x.device().type();
  if (!at::autocast::is_autocast_available(device) || !at::autocast::is_autocast_enabled(device))
    return UpdatedLinear::apply(x, weight, bias, at::TensorList(factors), carried);
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(at::autocast::get_autocast_dispatch_key_from_device_type(device));
  const auto dtype = at::autocast::get_autocast_dtype(device);
  const auto cast = [&](const at::Tensor& tensor) { return at::autocast::cached_cast(dtype, tensor, device); };
  return UpdatedLinear::apply(cast(x), weight, bias ? std::optional(cast(*bias)) : bias, at::TensorList(factors), carried);
}

at::Tensor FactoredAdapter::forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) {
  const auto chosen = asked(base.parts);
  if (chosen.empty()) return base.compute(x);
  Factors factors;
  for (const auto& one : chosen) {
    for (auto& factor : updates()[one.index]->factors()) factors.push_back(std::move(factor));
  }
  // The backward may outlive the adapter, so the function holds what it needs.
  const auto update = [chosen, updates = updates(), rows = base.weight.size(0)](const Factors& all) {
    std::vector<at::Tensor> blocks;  // from the first row down; zeros between the updates
    int64_t row = 0;
    size_t first = 0;
    for (const auto& one : chosen) {
      const auto& own = *updates[one.index];
      const size_t count = own.factors().size();
      const auto block =
          own.update(Factors(all.begin() + static_cast<int64_t>(first), all.begin() + static_cast<int64_t>(first + count)));
      first += count;
      if (one.row > row) blocks.push_back(at::zeros({one.row - row, block.size(1)}, block.options()));
      blocks.push_back(block.narrow(0, one.skip, one.rows));
      row = one.row + one.rows;
    }
    if (row < rows) blocks.push_back(at::zeros({rows - row, blocks[0].size(1)}, blocks[0].options()));
    return blocks.size() == 1 ? blocks[0] : at::cat(blocks, 0);
  };
  return updated_linear(x, base.weight, base.optional_bias(), factors, update);
}

std::optional<nn::Fold> FactoredAdapter::fold(const at::Tensor& weight, const at::Tensor& bias) const {
  const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
  auto folded = weight.to(dtype, /*non_blocking=*/false, /*copy=*/true);
  for (const auto& one : updates()) {
    Factors factors;
    for (const auto& factor : one->factors()) factors.push_back(factor.to(dtype));
    folded.narrow(0, one->first_row, one->rows).add_(one->update(factors));
  }
  return nn::Fold{folded.to(weight.scalar_type()), bias};
}

}  // namespace respeft::methods
