#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace respeft::ops {

/// The argument check of every kernel of `rescaled_linear`. Shapes may be symbolic.
void check_rescaled_linear(const char* op, const at::Tensor& input, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, const at::Tensor& scale_in, const at::Tensor& scale_out);

/// Checks the backward's `grad_output` too.
void check_rescaled_linear_grad(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight);

/// The number of row groups in `scale_in`.
inline c10::SymInt scale_groups(const at::Tensor& scale_in) {
  return scale_in.dim() == 2 ? scale_in.sym_size(0) : c10::SymInt(1);
}

}  // namespace respeft::ops
