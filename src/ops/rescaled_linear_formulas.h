#pragma once

#include <respeft/ops/rescaled_linear.h>

/// `rescaled_linear` in ATen operators. Autograd differentiates it for second derivatives; a GPU computes it in float64, for
/// empty tensors, and where cuBLAS is faster. The caller has checked the arguments.
namespace respeft::ops::rescaled {

at::Tensor forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                   const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual);

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(const at::Tensor& grad_output, const at::Tensor& input,
                                                                    const at::Tensor& weight, const at::Tensor& scale_in,
                                                                    const at::Tensor& scale_out, bool residual,
                                                                    std::array<bool, 4> mask);

}  // namespace respeft::ops::rescaled
