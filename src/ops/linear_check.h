#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

/// What the operators check of the arguments of a plain linear layer; works on symbolic shapes too.
namespace respeft::ops {

/// That `tensor` shares the input's dtype and device.
void check_alike(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input);

/// That `tensor` shares the input's device, and its dtype unless it is float32 beside a lower one.
void check_alike_or_float(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input);

/// That `tensor` is `[..., columns]` with the input's leading dimensions, and of its dtype and device.
void check_beside_input(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input,
                        const c10::SymInt& columns);

/// Input `[..., in]`, weight `[out, in]` and bias `[out]` or none, alike; with `float_weight`, the weight may be float32 beside
/// a lower dtype.
void check_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                  bool float_weight = false);

}  // namespace respeft::ops
