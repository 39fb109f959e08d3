#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace respeft {

/// The bytes that autograd saves for the backward of `forward`'s result. Each storage counts once; those of `excluded`
/// (parameters, inputs) do not count. Also works on the meta device. Counts the calling thread only.
///
/// Replaces LibTorch's default autograd engine while it runs, so do not call it inside a Python process.
int64_t bytes_saved_for_backward(const std::function<at::Tensor()>& forward, const std::vector<at::Tensor>& excluded);

}  // namespace respeft
