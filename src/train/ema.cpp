#include <respeft/train/ema.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <stdexcept>

namespace respeft::train {
namespace {

std::vector<at::Tensor> detached(const NamedTensors& named) {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : named) tensors.push_back(tensor.detach());
  return tensors;
}

}  // namespace

ParameterEma::ParameterEma(NamedTensors parameters, double decay) : parameters_(std::move(parameters)), decay_(decay) {
  if (!(decay >= 0.0 && decay < 1.0))
    throw std::invalid_argument(fmt::format("EMA: decay {}: must be at least 0 and below 1", decay));
  for (const auto& [name, parameter] : parameters_) values_.emplace_back(name, parameter.detach().clone());
}

void ParameterEma::update() {
  const at::NoGradGuard no_grad;
  const auto averages = detached(values_);
  at::_foreach_mul_(averages, decay_);
  at::_foreach_add_(averages, at::_foreach_mul(detached(parameters_), 1.0 - decay_));
}

void ParameterEma::exchange() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < values_.size(); ++i) {
    const at::Tensor parameter = parameters_[i].second.detach(), kept = parameter.clone();
    parameter.copy_(values_[i].second);
    values_[i].second.copy_(kept);
  }
}

}  // namespace respeft::train
