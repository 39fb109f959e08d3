#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

/// What the operators check of the arguments of a plain linear layer; works on symbolic shapes too.
namespace respeft::ops {

/// That `tensor` shares the input's dtype and device.
void check_alike(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input);

/// That `tensor` is `[..., columns]` with the input's leading dimensions, and of its dtype and device.
void check_beside_input(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input,
                        const c10::SymInt& columns);

/// Input `[..., in]`, weight `[out, in]` and bias `[out]` or none, alike.
void check_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias);

}  // namespace respeft::ops
