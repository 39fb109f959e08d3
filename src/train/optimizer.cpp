#include <respeft/train/optimizer.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <optional>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::train {
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

namespace {

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace

Optimizer::Optimizer(const NamedTensors& parameters, double weight_decay, Decay decay)
    : weight_decay_(weight_decay), decay_(decay) {
  for (const auto& [name, parameter] : parameters) slots_.push_back({name, parameter, {}});
}

void Optimizer::add_state(const std::string& kind, bool scalar) {
  for (auto& slot : slots_) {
    slot.state[kind] = scalar ? at::zeros({}, slot.parameter.options().dtype(at::kFloat).requires_grad(false))
                              : at::zeros_like(slot.parameter, at::MemoryFormat::Contiguous).detach();
  }
}

Optimizer::Group Optimizer::group(bool decaying) const {
  Group group;
  group.weight_decay = decaying ? weight_decay_ : 0.0;
  for (const auto& slot : slots_) {
    if (decays(decay_, slot.name, slot.parameter) != decaying || !slot.parameter.grad().defined()) continue;
    group.parameters.push_back(slot.parameter);
    group.gradients.push_back(slot.parameter.grad().contiguous());
    for (const auto& [kind, tensor] : slot.state) group.state[kind].push_back(tensor);
  }
  return group;
}

void Optimizer::step(double lr, const at::Tensor& skip) {
  const at::NoGradGuard no_grad;
  for (const bool decaying : {true, false}) {
    Group own = group(decaying);
    if (!own.parameters.empty()) update(own, lr, skip);
  }
}

void Optimizer::zero_grad() {
  for (auto& slot : slots_) slot.parameter.mutable_grad() = at::Tensor();
}

TensorMap Optimizer::state() const {
  TensorMap tensors;
  for (const auto& slot : slots_) {
    for (const auto& [kind, tensor] : slot.state) tensors[kind + "/" + slot.name] = tensor;
  }
  return tensors;
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

AdamW::AdamW(const NamedTensors& parameters, const AdamWOptions& options)
    : Optimizer(parameters, options.weight_decay, options.decay), options_(options) {
  add_state("exp_avg");
  add_state("exp_avg_sq");
  add_state("step", /*scalar=*/true);
}

void AdamW::update(Group& group, double lr, const at::Tensor& skip) {
  auto& steps = group.state.at("step");
  for (auto& step : steps) skip.defined() ? step.add_(1 - skip) : step.add_(1);
  at::_fused_adamw_(group.parameters, group.gradients, group.state.at("exp_avg"), group.state.at("exp_avg_sq"), {}, steps, lr,
                    options_.beta1, options_.beta2, group.weight_decay, options_.eps, /*amsgrad=*/false, /*maximize=*/false,
                    /*grad_scale=*/std::nullopt, optional(skip));
}

Sgd::Sgd(const NamedTensors& parameters, const SgdOptions& options)
    : Optimizer(parameters, options.weight_decay, options.decay), options_(options) {
  add_state("momentum");
}

void Sgd::update(Group& group, double lr, const at::Tensor& skip) {
  // From a momentum of zero the first step is as any other: 0 · momentum + gradient.
  at::_fused_sgd_(group.parameters, group.gradients, group.state.at("momentum"), group.weight_decay, options_.momentum, lr,
                  /*dampening=*/0.0, /*nesterov=*/false, /*maximize=*/false, /*is_first_step=*/false,
                  /*grad_scale=*/std::nullopt, optional(skip));
}

at::Tensor clip_gradients(const std::vector<at::Tensor>& parameters, double limit) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& parameter : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  if (gradients.empty()) return {};
  const at::Tensor norm = at::stack(at::_foreach_norm(gradients, 2)).norm();
  const at::Tensor scale = limit / (norm.to(at::kDouble) + 1e-6);
  at::_foreach_mul_(gradients, at::where(scale < 1.0, scale, at::ones_like(scale)).to(gradients.front().scalar_type()));
  return norm;
}

}  // namespace respeft::train
