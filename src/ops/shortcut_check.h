#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace respeft::ops {

/// The argument checks of every kernel of `shortcut_linear` and `folded_linear`. Shapes may be symbolic.
void check_shortcut_linear(const char* op, const at::Tensor& input, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, const at::Tensor& down, const at::Tensor& up,
                           const std::optional<at::Tensor>& previous, at::IntArrayRef rows,
                           const std::optional<at::Tensor>& branch);
void check_folded_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         const at::Tensor& down, const at::Tensor& up, at::IntArrayRef rows);

}  // namespace respeft::ops
