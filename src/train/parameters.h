#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include <respeft/core/named_tensors.h>

namespace respeft::train {

std::vector<at::Tensor> tensors_of(const NamedTensors& named);

/// Copies `tensors[prefix + name]` into each parameter. Throws `std::runtime_error` naming one that is missing or does not fit.
void load_parameters(const NamedTensors& parameters, const TensorMap& tensors, const std::string& prefix);

}  // namespace respeft::train
