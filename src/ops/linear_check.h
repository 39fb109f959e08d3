#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

/// Argument checks of a plain linear layer. Shapes may be symbolic. All throw `c10::Error`.
namespace respeft::ops {

/// Checks that `tensor` has the input's dtype and device.
void check_alike(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input);

/// Checks that `tensor` has the input's device, and its dtype or, with a lower-precision input, float32.
void check_alike_or_float(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input);

/// Checks that `tensor` is `[..., columns]` with the input's leading dimensions, dtype and device.
void check_beside_input(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input,
                        const c10::SymInt& columns);

/// Checks that input `[..., in]`, weight `[out, in]` and bias `[out]` or none agree. With `float_weight`, the weight may be
/// float32 with a lower-precision input.
void check_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                  bool float_weight = false);

}  // namespace respeft::ops
