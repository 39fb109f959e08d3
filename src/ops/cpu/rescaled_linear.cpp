#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <torch/library.h>

#include <algorithm>

#include "src/core/simd.h"
#include "src/ops/rescaled_linear_check.h"

namespace respeft::ops {
namespace {

/// Rows of the weight per task; fixed, so that sums do not depend on the number of threads.
constexpr int64_t kRowsPerTask = 32;

template <class Scalar, class Accumulate>
RESPEFT_SIMD_INLINE void rescale_row(const Scalar* weight, const Accumulate* scale_in, Accumulate scale_out, Accumulate residual,
                                     Scalar* rescaled, int64_t in) {
#pragma omp simd
  for (int64_t i = 0; i < in; ++i) {
    rescaled[i] = static_cast<Scalar>(static_cast<Accumulate>(weight[i]) * (residual + scale_out * scale_in[i]));
  }
}

/// Processes one row of G ⊙ W: adds its contribution to `grad_in [in]` and returns its grad_scale_out.
template <class Scalar, class Accumulate>
RESPEFT_SIMD_INLINE Accumulate reduce_row(const Scalar* product, const Scalar* weight, const Accumulate* scale_in,
                                          Accumulate scale_out, Accumulate* grad_in, int64_t in) {
  Accumulate grad_out = 0;
#pragma omp simd reduction(+ : grad_out)
  for (int64_t i = 0; i < in; ++i) {
    const auto term = static_cast<Accumulate>(product[i]) * static_cast<Accumulate>(weight[i]);
    grad_out += term * scale_in[i];
    grad_in[i] += term * scale_out;
  }
  return grad_out;
}

/// Float32 versions, compiled for each vector width; the other dtypes use the functions above.
RESPEFT_SIMD_CLONES void vectorized_rescale_row(const float* weight, const float* scale_in, float scale_out, float residual,
                                                float* rescaled, int64_t in) {
  rescale_row(weight, scale_in, scale_out, residual, rescaled, in);
}
template <class Scalar, class Accumulate>
void vectorized_rescale_row(const Scalar* weight, const Accumulate* scale_in, Accumulate scale_out, Accumulate residual,
                            Scalar* rescaled, int64_t in) {
  rescale_row(weight, scale_in, scale_out, residual, rescaled, in);
}
RESPEFT_SIMD_CLONES float vectorized_reduce_row(const float* product, const float* weight, const float* scale_in, float scale_out,
                                                float* grad_in, int64_t in) {
  return reduce_row(product, weight, scale_in, scale_out, grad_in, in);
}
template <class Scalar, class Accumulate>
Accumulate vectorized_reduce_row(const Scalar* product, const Scalar* weight, const Accumulate* scale_in, Accumulate scale_out,
                                 Accumulate* grad_in, int64_t in) {
  return reduce_row(product, weight, scale_in, scale_out, grad_in, in);
}

/// W' = W ⊙ (residual + scale_out scale_inᵀ), contiguous `[out, in]`.
at::Tensor rescale(const at::Tensor& weight, const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  const auto w = weight.contiguous();
  auto rescaled = at::empty_like(w);
  const int64_t out = w.size(0), in = w.size(1);
  if (w.numel() == 0) return rescaled;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, w.scalar_type(), "rescaled_linear", [&] {
    using accumulate_t = at::opmath_type<scalar_t>;
    const auto s_in = scale_in.to(c10::CppTypeToScalarType<accumulate_t>::value).contiguous();
    const auto s_out = scale_out.to(c10::CppTypeToScalarType<accumulate_t>::value).contiguous();
    const int64_t group_rows = out / (s_in.numel() / in);
    const auto* w_data = w.const_data_ptr<scalar_t>();
    const auto* in_data = s_in.const_data_ptr<accumulate_t>();
    const auto* out_data = s_out.const_data_ptr<accumulate_t>();
    auto* rescaled_data = rescaled.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, out, kRowsPerTask, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const auto* row_in = in_data + o / group_rows * in;
        const auto one = static_cast<accumulate_t>(residual ? 1 : 0);
        vectorized_rescale_row(w_data + o * in, row_in, out_data[o], one, rescaled_data + o * in, in);
      }
    });
  });
  return rescaled;
}

/// The scales' gradients from G `[out, in]`: (`[groups, in]`, `[out]`), in the accumulation dtype.
std::pair<at::Tensor, at::Tensor> reduce_scales(const at::Tensor& product, const at::Tensor& weight, const at::Tensor& scale_in,
                                                const at::Tensor& scale_out) {
  const auto w = weight.contiguous();
  const int64_t out = w.size(0), in = w.size(1);
  const int64_t groups = scale_groups(scale_in).expect_int();
  const int64_t group_rows = out / groups;
  const int64_t group_tasks = (group_rows + kRowsPerTask - 1) / kRowsPerTask;
  const auto options = w.options().dtype(at::toOpMathType(w.scalar_type()));
  auto grad_out = at::empty({out}, options);
  auto partial = at::empty({groups, group_tasks, in}, options).zero_();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, w.scalar_type(), "rescaled_linear_backward", [&] {
    using accumulate_t = at::opmath_type<scalar_t>;
    const auto s_in = scale_in.to(options).contiguous();
    const auto s_out = scale_out.to(options).contiguous();
    const auto* g_data = product.const_data_ptr<scalar_t>();
    const auto* w_data = w.const_data_ptr<scalar_t>();
    const auto* in_data = s_in.const_data_ptr<accumulate_t>();
    const auto* out_data = s_out.const_data_ptr<accumulate_t>();
    auto* grad_out_data = grad_out.mutable_data_ptr<accumulate_t>();
    auto* partial_data = partial.mutable_data_ptr<accumulate_t>();
    at::parallel_for(0, groups * group_tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t group = task / group_tasks;
        const int64_t first = group * group_rows + task % group_tasks * kRowsPerTask;
        const int64_t last = std::min(first + kRowsPerTask, (group + 1) * group_rows);
        for (int64_t o = first; o < last; ++o) {
          const auto* row_in = in_data + group * in;
          auto* columns = partial_data + task * in;
          grad_out_data[o] = vectorized_reduce_row(g_data + o * in, w_data + o * in, row_in, out_data[o], columns, in);
        }
      }
    });
  });
  return {partial.sum(1), grad_out};
}

at::Tensor rescaled_linear_cpu(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                               const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  check_rescaled_linear("rescaled_linear", input, weight, bias, scale_in, scale_out);
  return at::linear(input, rescale(weight, scale_in, scale_out, residual), bias);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward_cpu(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> mask) {
  check_rescaled_linear("rescaled_linear_backward", input, weight, std::nullopt, scale_in, scale_out);
  check_rescaled_linear_grad(grad_output, input, weight);
  const auto grad = grad_output.reshape({c10::multiply_integers(input.sizes().slice(0, input.dim() - 1)), weight.size(0)});
  at::Tensor grad_input, grad_scale_in, grad_scale_out, grad_bias;
  if (mask[0]) grad_input = grad.mm(rescale(weight, scale_in, scale_out, residual)).view(input.sizes());
  if (mask[1] || mask[2]) {
    const auto x = input.reshape({grad.size(0), weight.size(1)});
    auto [columns, rows] = reduce_scales(grad.t().mm(x), weight, scale_in, scale_out);
    if (mask[1]) grad_scale_in = columns.view(scale_in.sizes()).to(scale_in.scalar_type());
    if (mask[2]) grad_scale_out = rows.to(scale_out.scalar_type());
  }
  if (mask[3]) grad_bias = grad.sum(0);
  return {grad_input, grad_scale_in, grad_scale_out, grad_bias};
}

TORCH_LIBRARY_IMPL(respeft, CPU, m) {
  m.impl("rescaled_linear", rescaled_linear_cpu);
  m.impl("rescaled_linear_backward", rescaled_linear_backward_cpu);
}

}  // namespace
}  // namespace respeft::ops
