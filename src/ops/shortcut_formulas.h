#pragma once

#include <respeft/ops/shortcut.h>

/// `shortcut_linear` and `folded_linear` in ATen operators. The CPU computes them, Meta takes its shapes from them, and autograd
/// differentiates them for second derivatives. The caller has checked the arguments. Shapes may be symbolic.
namespace respeft::ops::shortcut {

std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& weight,
                                           const std::optional<at::Tensor>& bias, const at::Tensor& down, const at::Tensor& up,
                                           const std::optional<at::Tensor>& previous, double scaling, at::IntArrayRef rows,
                                           const std::optional<at::Tensor>& branch);

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> mask);

at::Tensor folded_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                          const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                          bool dense_gradient);

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_backward(const at::Tensor& grad_output, const at::Tensor& input,
                                                                           const at::Tensor& weight, const at::Tensor& down,
                                                                           const at::Tensor& up, double scaling,
                                                                           at::IntArrayRef rows, bool dense_gradient,
                                                                           std::array<bool, 4> mask);

// Parts of the above, on matrices `[tokens, ·]`.

/// Adds scaling · middle_g up_gᵀ to the columns of `output` that belong to group g.
void add_update(const at::Tensor& output, const at::Tensor& middle, const at::Tensor& up, double scaling, at::IntArrayRef rows);

/// grad_middle (zeros where undefined) + scaling · (grad_g up_g, side by side), `[tokens, columns]`.
at::Tensor middle_gradient(const at::Tensor& grad, const at::Tensor& grad_middle, const at::Tensor& up,
                           const c10::SymInt& columns, double scaling, at::IntArrayRef rows);

/// W + scaling · up down, as a new tensor.
at::Tensor fold(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows);

}  // namespace respeft::ops::shortcut
