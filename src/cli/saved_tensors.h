#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <functional>

namespace respeft::cli {

/// Bytes that autograd keeps for the backward of the tensor that `forward` returns: the distinct storages of all saved
/// tensors, each counted whole and once, without the parameters and buffers of `model`.
int64_t bytes_saved_for_backward(const torch::nn::Module& model, const std::function<at::Tensor()>& forward);

}  // namespace respeft::cli
