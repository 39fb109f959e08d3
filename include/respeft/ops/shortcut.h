#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace respeft::ops {

/// A linear layer with a low-rank update whose rank-r activations also receive the shortcuts of earlier layers (LoRA; ResLoRA,
/// Eq. 2 to 4):
///
///     middle = z downᵀ,  middle[..., :used] += previous                        z = branch if given, otherwise input
///     output = input Wᵀ + bias,  output[..., rows of g] += scaling · middle[..., columns of g] up_gᵀ   for each group g
///
/// `middle` are the rank-r activations. A group is one logical projection: its `height` output rows start at `rows[g]`, its
/// factor up_g `[height, r]` starts at row g · height of `up`, and it reads columns g · r to (g + 1) · r of `middle`; `used` =
/// groups · r. Rows of `down` past `used` produce activations for the next layer only; they do not enter this layer's output.
/// Registered as `respeft::shortcut_linear`.
///
/// @param input     `[..., in]`, any number of leading dimensions
/// @param weight    `[out, in]`, frozen: it gets no gradient, and one that requires a gradient is an error
/// @param bias      `[out]`, or none
/// @param down      `[R, in]`, R ≥ used
/// @param up        `[groups · height, r]`
/// @param previous  `[..., used]`: the sum of the earlier layers' activations; or none
/// @param branch    `[..., in]`: the input after dropout; or none
/// @return (output `[..., out]`, middle `[..., R]`)
///
/// All tensors share one floating dtype. Saves input, weight, down, up, middle and, if given, branch for the backward. Can be
/// differentiated twice. Under autocast everything is cast.
/// Throws `c10::Error` that names the argument, what was expected and what was given.
std::tuple<at::Tensor, at::Tensor> shortcut_linear(const at::Tensor& input, const at::Tensor& weight,
                                                   const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                   const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                   double scaling, at::IntArrayRef rows = {0},
                                                   const std::optional<at::Tensor>& branch = std::nullopt);

/// The gradients of `shortcut_linear`. With g = grad_output and
/// m = grad_middle + scaling · (g[..., rows of g] up_g, concatenated over the groups), flattened to `[N, ·]`:
///
///     grad_input = g W + m down (without `m down` if there is a branch)      grad_branch = m down
///     grad_down = mᵀ z       grad_up_g = scaling · g[:, rows of g]ᵀ middle[:, columns of g]
///     grad_previous = m[:, :used]                              grad_bias = Σ_n g[n]
///
/// @param grad_middle  the gradient of `middle`, or none
/// @param middle       the forward's second output
/// @param output_mask  which of (grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch) to compute;
///                     the others are undefined tensors
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> shortcut_linear_backward(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> output_mask);

/// The layer of `shortcut_linear` without `previous`, `branch` and `middle`. It folds the update into the weight before the
/// product:
///
///     y = input (W + scaling · up down)ᵀ + bias
///
/// with groups as in `shortcut_linear`. It takes one GEMM of the weight's size, which is cheaper than two thin ones for high
/// ranks and many tokens. Registered as `respeft::folded_linear`.
///
/// @param dense_gradient  true: compute the factors' gradients from gradᵀ · input `[out, in]`, one GEMM of the weight's size;
///                        false: by thin products
/// @return `[..., out]`
///
/// With a bfloat16 or float16 input, weight, down and up may each be float32. Then W + scaling · up down is computed in float32
/// and rounded for the product, so that updates smaller than the rounding of W are not lost. The factors' gradients have the
/// factors' dtypes; the products with the input are computed in the input's. Under autocast, input and bias are cast; weight,
/// down and up are cast unless they are float32. Saves input, weight, down and up for the backward. Everything else is as for
/// `shortcut_linear`.
at::Tensor folded_linear(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows = {0},
                         bool dense_gradient = false);

/// The gradients of `folded_linear`: (grad_input, grad_bias, grad_down, grad_up); those outside `output_mask` are undefined.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_linear_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down,
    const at::Tensor& up, double scaling, at::IntArrayRef rows, bool dense_gradient, std::array<bool, 4> output_mask);

/// W + scaling · up down, with groups as above, in `weight`'s dtype; computed in float32 for lower precisions.
at::Tensor fold_low_rank(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling,
                         at::IntArrayRef rows = {0});

}  // namespace respeft::ops
