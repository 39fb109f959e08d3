#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace respeft {

/// The bytes that autograd keeps for the backward of what `forward` computes: each storage once, those of `excluded`
/// (parameters, inputs) not at all. Works on tensors of shapes alone too. Counts on the calling thread.
///
/// Replaces LibTorch's default autograd engine while it runs, so that it is not for use inside a Python process.
int64_t bytes_saved_for_backward(const std::function<at::Tensor()>& forward, const std::vector<at::Tensor>& excluded);

}  // namespace respeft
