#include "src/train/parameters.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <stdexcept>

namespace respeft::train {

std::vector<at::Tensor> tensors_of(const NamedTensors& named) {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : named) tensors.push_back(tensor);
  return tensors;
}

void load_parameters(const NamedTensors& parameters, const TensorMap& tensors, const std::string& prefix) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    const auto found = tensors.find(prefix + name);
    if (found == tensors.end()) throw std::runtime_error(fmt::format("the checkpoint has no '{}{}'", prefix, name));
    if (found->second.sizes() != parameter.sizes() || found->second.scalar_type() != parameter.scalar_type())
      throw std::runtime_error(fmt::format("the checkpoint's '{}{}' has another shape or type than the model's", prefix, name));
    parameter.detach().copy_(found->second);
  }
}

}  // namespace respeft::train
