#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace respeft::ops {

/// A linear layer with a low-rank update whose middle takes in what earlier layers pass on (LoRA; ResLoRA, Eq. 2 to 4):
///
///     middle = z downᵀ,  middle[..., :used] += previous                        z = branch, or input where there is none
///     output = input Wᵀ + bias,  output[..., rows of g] += scaling · middle[..., columns of g] up_gᵀ   for each group g
///
/// A group is one logical projection: its `height` output rows start at `rows[g]`, its factor up_g `[height, r]` stands
/// from row g · height of `up`, and it reads the columns g · r to (g + 1) · r of the middle; `used` = groups · r. What
/// `down` has beyond `used` rows is for the next layer: those columns of the middle are only handed out.
/// Registered as `respeft::shortcut_linear`.
///
/// @param input     `[..., in]`, any number of leading dimensions
/// @param weight    `[out, in]`, frozen: it gets no gradient, and one that requires a gradient is an error
/// @param bias      `[out]`, or none
/// @param down      `[R, in]`, R ≥ used
/// @param up        `[groups · height, r]`
/// @param previous  `[..., used]`: the sum of what earlier layers pass on; or none
/// @param branch    `[..., in]`: the input after dropout; or none
/// @return (output `[..., out]`, middle `[..., R]`)
///
/// All tensors share one floating dtype. Kept for the backward: input, weight, down, up, the middle, and the branch where
/// there is one. Can be differentiated twice. Under autocast everything is cast.
/// Throws `c10::Error` naming the argument, what was expected and what came.
std::tuple<at::Tensor, at::Tensor> shortcut_linear(const at::Tensor& input, const at::Tensor& weight,
                                                   const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                   const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                   double scaling, at::IntArrayRef rows = {0},
                                                   const std::optional<at::Tensor>& branch = std::nullopt);

/// The gradients of `shortcut_linear`. With g = grad_output and
/// m = grad_middle + scaling · (g[..., rows of g] up_g, side by side), flattened to `[N, ·]`:
///
///     grad_input = g W + m down (without `m down` where there is a branch)      grad_branch = m down
///     grad_down = mᵀ z       grad_up_g = scaling · g[:, rows of g]ᵀ middle[:, columns of g]
///     grad_previous = m[:, :used]                              grad_bias = Σ_n g[n]
///
/// @param grad_middle  as `middle`, or none
/// @param middle       the forward's second output
/// @param output_mask  which of (grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch) are wanted;
///                     the others are undefined tensors
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> shortcut_linear_backward(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> output_mask);

/// The same layer without `previous`, `branch` and what is handed out, its update folded before the product:
///
///     y = input (W + scaling · up down)ᵀ + bias
///
/// with groups as in `shortcut_linear`. One GEMM of the weight's size; for high ranks and many tokens cheaper than two
/// thin ones. Registered as `respeft::folded_linear`.
///
/// @param dense_gradient  whether the factors' gradients go through gradᵀ · input `[out, in]` (one GEMM of the weight's size)
///                        or through thin products
/// @return `[..., out]`
///
/// Beside a bfloat16 or float16 input, weight, down and up may each be float32: then W + scaling · up down is made in float32 and
/// rounded for the product, so that updates smaller than the rounding of W alone are not lost; the factors' gradients have the
/// factors' dtypes, from products with the input that are made in its own. Under autocast input and bias are cast, and weight,
/// down and up where they are not float32. Kept for the backward: input, weight, down and up, as the fold takes them. Everything
/// else is as for `shortcut_linear`.
at::Tensor folded_linear(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows = {0},
                         bool dense_gradient = false);

/// The gradients of `folded_linear`: (grad_input, grad_bias, grad_down, grad_up), those that `output_mask` asks for.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_linear_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down,
    const at::Tensor& up, double scaling, at::IntArrayRef rows, bool dense_gradient, std::array<bool, 4> output_mask);

/// W + scaling · up down, with groups as above, in `weight`'s dtype; computed in float32 for lower precisions.
at::Tensor fold_low_rank(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling,
                         at::IntArrayRef rows = {0});

}  // namespace respeft::ops
