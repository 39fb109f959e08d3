#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <tuple>

namespace respeft::ops {

/// A linear layer whose frozen weight is rescaled by a rank-one term (RLRR, Eq. 16 and 19):
///
///     y = x W'ᵀ + bias,   W'[o, i] = W[o, i] · (residual + scale_out[o] · scale_in[g(o), i])
///
/// with `residual` counting as 1 or 0 and g(o) = o / (out / groups). Registered as `respeft::rescaled_linear`.
///
/// @param input      `[..., in]`, any number of leading dimensions
/// @param weight     `[out, in]`, frozen: it gets no gradient, and one that requires a gradient is an error
/// @param bias       `[out]`, or none
/// @param scale_in   `[in]`, or `[groups, in]` where several projections are fused in the rows of `weight`
/// @param scale_out  `[out]`
/// @return `[..., out]` of `input`'s dtype
///
/// `input`, `weight` and `bias` share one floating dtype; the scales have it too or are float32.
/// Saves input, weight and the scales for the backward, and no other tensor of the weight's size. Can be differentiated twice.
/// Under autocast, input, weight and bias are cast and the scales are not.
/// Throws `c10::Error` that names the argument, what was expected and what was given.
at::Tensor rescaled_linear(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                           const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual = true);

/// The gradients of `rescaled_linear`, with G = grad_outputᵀ · input:
///
///     grad_input = grad_output W'                        grad_bias[o] = Σ_n grad_output[n, o]
///     grad_scale_in[g, i] = Σ_o∈g G[o, i] W[o, i] scale_out[o]
///     grad_scale_out[o]   = Σ_i  G[o, i] W[o, i] scale_in[g(o), i]
///
/// @param output_mask  which of the four to compute; the others are undefined tensors
/// @return (grad_input, grad_scale_in, grad_scale_out, grad_bias); each has its argument's dtype, grad_bias that of `input`
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> output_mask);

/// The merged weight W' (Eq. 20), `[out, in]`, in `weight`'s dtype; computed in float32 for lower precisions.
/// Shapes and errors as for `rescaled_linear`.
at::Tensor rescale_weight(const at::Tensor& weight, const at::Tensor& scale_in, const at::Tensor& scale_out,
                          bool residual = true);

}  // namespace respeft::ops
