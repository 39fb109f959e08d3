#include <respeft/train/optimizer.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::train {
namespace {

at::Tensor zeros_for(const at::Tensor& parameter) {
  return at::zeros_like(parameter, at::MemoryFormat::Contiguous).detach();
}

}  // namespace

Decay decay_from_name(const std::string& name) {
  if (name == "names") return Decay::names;
  if (name == "matrices") return Decay::matrices;
  if (name == "all") return Decay::all;
  throw std::invalid_argument(text::unknown("weight decay", name, {"names", "matrices", "all"}));
}

bool decays(Decay decay, const std::string& name, const at::Tensor& parameter) {
  if (decay == Decay::all) return true;
  if (decay == Decay::matrices) return parameter.dim() > 1;
  return name.find("bias") == std::string::npos && name.find("norm") == std::string::npos;
}

void Optimizer::load_state(const TensorMap& tensors) {
  for (auto& [key, own] : state()) {
    const auto found = tensors.find(key);
    if (found == tensors.end()) throw std::runtime_error(fmt::format("the optimizer's state has no '{}'", key));
    if (found->second.sizes() != own.sizes() || found->second.scalar_type() != own.scalar_type())
      throw std::runtime_error(fmt::format("the optimizer's state '{}' has another shape or type than its parameter", key));
    own.copy_(found->second);
  }
}

AdamW::AdamW(Named parameters, const AdamWOptions& options) : options_(options) {
  for (auto& [name, parameter] : parameters) {
    slots_.push_back({name, parameter, zeros_for(parameter), zeros_for(parameter),
                      at::zeros({}, parameter.options().dtype(at::kFloat).requires_grad(false))});
  }
}

void AdamW::step(double lr) {
  step_group(lr, options_.weight_decay, true);
  step_group(lr, 0.0, false);
}

void AdamW::step_group(double lr, double weight_decay, bool decaying) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parameters, gradients, averages, squares, steps;
  for (auto& slot : slots_) {
    if (decays(options_.decay, slot.name, slot.parameter) != decaying || !slot.parameter.grad().defined()) continue;
    parameters.push_back(slot.parameter);
    gradients.push_back(slot.parameter.grad().contiguous());
    averages.push_back(slot.exp_avg);
    squares.push_back(slot.exp_avg_sq);
    steps.push_back(slot.step.add_(1));
  }
  if (parameters.empty()) return;
  at::_fused_adamw_(parameters, gradients, averages, squares, {}, steps, lr, options_.beta1, options_.beta2, weight_decay,
                    options_.eps, /*amsgrad=*/false, /*maximize=*/false);
}

void AdamW::zero_grad() {
  for (auto& slot : slots_) slot.parameter.mutable_grad() = at::Tensor();
}

TensorMap AdamW::state() const {
  TensorMap tensors;
  for (const auto& slot : slots_) {
    tensors["exp_avg/" + slot.name] = slot.exp_avg;
    tensors["exp_avg_sq/" + slot.name] = slot.exp_avg_sq;
    tensors["step/" + slot.name] = slot.step;
  }
  return tensors;
}

Sgd::Sgd(Named parameters, const SgdOptions& options) : options_(options) {
  for (auto& [name, parameter] : parameters) slots_.push_back({name, parameter, zeros_for(parameter)});
}

void Sgd::step(double lr) {
  step_group(lr, options_.weight_decay, true);
  step_group(lr, 0.0, false);
}

void Sgd::step_group(double lr, double weight_decay, bool decaying) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parameters, gradients, momenta;
  for (auto& slot : slots_) {
    if (decays(options_.decay, slot.name, slot.parameter) != decaying || !slot.parameter.grad().defined()) continue;
    parameters.push_back(slot.parameter);
    gradients.push_back(slot.parameter.grad().contiguous());
    momenta.push_back(slot.momentum);
  }
  if (parameters.empty()) return;
  // From a momentum of zero the first step is as any other: 0 · momentum + gradient.
  at::_fused_sgd_(parameters, gradients, momenta, weight_decay, options_.momentum, lr, /*dampening=*/0.0, /*nesterov=*/false,
                  /*maximize=*/false, /*is_first_step=*/false);
}

void Sgd::zero_grad() {
  for (auto& slot : slots_) slot.parameter.mutable_grad() = at::Tensor();
}

TensorMap Sgd::state() const {
  TensorMap tensors;
  for (const auto& slot : slots_) tensors["momentum/" + slot.name] = slot.momentum;
  return tensors;
}

double clip_gradients(const std::vector<at::Tensor>& parameters, double limit) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& parameter : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  if (gradients.empty()) return 0.0;
  const double norm = at::stack(at::_foreach_norm(gradients, 2)).norm().item<double>();
  const double scale = limit / (norm + 1e-6);
  if (scale < 1.0) at::_foreach_mul_(gradients, scale);
  return norm;
}

}  // namespace respeft::train
