#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace respeft {

/// Tensors by name, e.g. a state dict.
using TensorMap = std::map<std::string, at::Tensor>;

/// Tensors by name in an order that matters, e.g. a model's parameters as they were registered.
using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

}  // namespace respeft
