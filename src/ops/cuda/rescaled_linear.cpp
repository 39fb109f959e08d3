#include "cuda/rescaled_linear.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <limits>

#include "src/ops/cuda/device.h"
#include "src/ops/cuda/elements.h"
#include "src/ops/cuda/operators.h"
#include "src/ops/cuda/way.h"
#include "src/ops/matrix.h"
#include "src/ops/rescaled_linear_check.h"
#include "src/ops/rescaled_linear_formulas.h"

namespace respeft::ops::cuda {
namespace {

using ::respeft::cuda::Direction;

/// The kernels' view of a weight and its scales; keeps the tensors alive.
struct Rescaled {
  Rescaled(const at::Tensor& weight_, const at::Tensor& scale_in_, const at::Tensor& scale_out_, bool residual_)
      : weight(weight_.contiguous()),
        scale_in(scale_in_.to(at::kFloat).contiguous()),
        scale_out(scale_out_.to(at::kFloat).contiguous()),
        residual(residual_ ? 1.0f : 0.0f) {}

  int64_t in() const { return weight.size(1); }
  int64_t out() const { return weight.size(0); }
  int64_t groups() const { return scale_in.numel() / in(); }

  template <class Scalar>
  ::respeft::cuda::RescaledWeight<ElementOf<Scalar>> view() const {
    return {data<Scalar>(weight), data<float>(scale_in), data<float>(scale_out), in(), out(), out() / groups(), residual};
  }

  at::Tensor weight, scale_in, scale_out;
  float residual;
};

/// W', `[out, in]`.
at::Tensor rescale(const Rescaled& w) {
  auto rescaled = at::empty_like(w.weight);
  RESPEFT_DISPATCH(w.weight, "rescaled_linear", [&] {
    ::respeft::cuda::RescaleParams<ElementOf<scalar_t>> params{w.view<scalar_t>(), mutable_data<scalar_t>(rescaled)};
    params.align();
    check(::respeft::cuda::launch_rescale_weight(params, stream()));
  });
  return rescaled;
}

/// x W'ᵀ + bias or grad W', one kernel.
at::Tensor product(Direction direction, const at::Tensor& input, const Rescaled& w, const at::Tensor& bias) {
  const bool forward = direction == Direction::Forward;
  auto output = at::empty({input.size(0), forward ? w.out() : w.in()}, input.options());
  RESPEFT_DISPATCH(input, "rescaled_linear", [&] {
    const auto weight = w.view<scalar_t>();
    ::respeft::cuda::RescaledProductParams<ElementOf<scalar_t>> params{weight, data<scalar_t>(input), data<scalar_t>(bias),
                                                                       mutable_data<scalar_t>(output), input.size(0)};
    params.align(direction);
    check(::respeft::cuda::launch_rescaled_product(direction, params, exact_products(), stream()));
  });
  return output;
}

/// True if our kernels support these sizes: indices along a side are 32 bits wide, and a group must fill a good part of a tile,
/// or most of every tile would be empty.
bool suits_kernels(const at::Tensor& input, const Rescaled& w, int64_t tile) {
  const bool narrow = std::max({input.size(0), w.in(), w.out()}) <= std::numeric_limits<int32_t>::max();
  return narrow && (w.groups() == 1 || 2 * (w.out() / w.groups()) >= tile);
}

/// Checks the device first, because an unfused product also rescales the weight with our kernel.
bool product_is_fused(Direction direction, const at::Tensor& input, const Rescaled& w) {
  const auto& device = gpu();
  if (!suits_kernels(input, w, ::respeft::cuda::kRescaledProductCut.columns)) return false;
  const ::respeft::cuda::ProductSize size{input.size(0), direction == Direction::Forward ? w.out() : w.in(), input.size(1)};
  const auto kind = arithmetic(input);
  return takes_fused(fused_rescaled_product(device, kind, size, w.groups(), direction),
                     two_step_rescaled_product(device, kind, size));
}

bool scale_gradients_are_fused(const at::Tensor& grad, const at::Tensor& input, const Rescaled& w) {
  if (!suits_kernels(input, w, ::respeft::cuda::kScaleGradientsCut.rows)) return false;
  const ::respeft::cuda::ProductSize size{grad.size(1), input.size(1), grad.size(0)};
  const auto kind = arithmetic(input);
  return takes_fused(fused_scale_gradients(gpu(), kind, size, w.groups()), composed_scale_gradients(gpu(), kind, size));
}

struct Wanted {
  bool scale_in, scale_out, bias;
};

/// The requested gradients of scale_in `[groups, in]`, scale_out and bias `[out]`.
std::tuple<at::Tensor, at::Tensor, at::Tensor> scale_gradients(const at::Tensor& grad, const at::Tensor& input, const Rescaled& w,
                                                               at::ScalarType in_dtype, at::ScalarType out_dtype,
                                                               const Wanted& wanted) {
  const auto make = [&](bool needed, at::IntArrayRef sizes, at::ScalarType dtype) {
    return needed ? at::empty(sizes, input.options().dtype(dtype)) : at::Tensor();
  };
  auto grad_in = make(wanted.scale_in, {w.groups(), w.in()}, in_dtype), grad_out = make(wanted.scale_out, {w.out()}, out_dtype);
  auto grad_bias = make(wanted.bias, {w.out()}, input.scalar_type());
  RESPEFT_DISPATCH(input, "rescaled_linear_backward", [&] {
    using Element = ElementOf<scalar_t>;
    const auto weight = w.view<scalar_t>();
    const int64_t tokens = input.size(0);
    const auto tiles = ::respeft::cuda::ScaleGradientTiles::choose(weight, tokens, gpu().processors);
    const int64_t column_count = tiles.splits * tiles.rows, row_count = tiles.splits * tiles.columns;
    auto column_parts = make(wanted.scale_in, {w.groups(), column_count, w.in()}, at::kFloat);
    auto row_parts = make(wanted.scale_out, {row_count, w.out()}, at::kFloat);
    auto bias_parts = make(wanted.bias, {tiles.splits, w.out()}, at::kFloat);
    const auto parts = [](at::Tensor& tensor) { return tensor.defined() ? tensor.mutable_data_ptr<float>() : nullptr; };
    ::respeft::cuda::ScaleGradientsParams<Element> params{
        weight, data<scalar_t>(grad), data<scalar_t>(input), parts(column_parts), parts(row_parts), parts(bias_parts),
        tokens, tiles.split_tokens};
    params.align();
    check(::respeft::cuda::launch_scale_gradients(params, exact_products(), stream()));

    const auto job = [](const float* from, at::Tensor& to, int64_t batch, int64_t count, int64_t width) {
      using Job = typename ::respeft::cuda::SumPartsParams<Element>::Job;
      return to.defined() ? Job{from, to.mutable_data_ptr(), batch, count, width, to.scalar_type() == at::kFloat} : Job{};
    };
    const ::respeft::cuda::SumPartsParams<Element> sums{{job(params.column_parts, grad_in, w.groups(), column_count, w.in()),
                                                         job(params.row_parts, grad_out, 1, row_count, w.out()),
                                                         job(params.bias_parts, grad_bias, 1, tiles.splits, w.out())}};
    check(::respeft::cuda::launch_sum_parts(sums, stream()));
  });
  return {grad_in, grad_out, grad_bias};
}

at::Tensor rescaled_linear_cuda(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                                const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  if (input.scalar_type() == at::kDouble) return rescaled::forward(input, weight, bias, scale_in, scale_out, residual);
  check_rescaled_linear("rescaled_linear", input, weight, bias, scale_in, scale_out);
  const c10::DeviceGuard guard(input.device());
  if (input.numel() == 0 || weight.numel() == 0) return at::linear(input, weight, bias);  // empty sums: zeros, or the bias
  const Rescaled w(weight, scale_in, scale_out, residual);
  const auto x = as_matrix(input).contiguous();
  if (product_is_fused(Direction::Forward, x, w))
    return unflattened(product(Direction::Forward, x, w, given(bias) ? bias->contiguous() : at::Tensor()), input);
  return unflattened(at::linear(x, rescale(w), bias), input);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward_cuda(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> mask) {
  const bool nothing = input.numel() == 0 || weight.numel() == 0;
  if (input.scalar_type() == at::kDouble || nothing)
    return rescaled::backward(grad_output, input, weight, scale_in, scale_out, residual, mask);
  check_rescaled_linear("rescaled_linear_backward", input, weight, std::nullopt, scale_in, scale_out);
  check_rescaled_linear_grad(grad_output, input, weight);
  const c10::DeviceGuard guard(input.device());
  const Rescaled w(weight, scale_in, scale_out, residual);
  const auto grad = as_matrix(grad_output).contiguous();
  at::Tensor grad_input, grad_scale_in, grad_scale_out, grad_bias;
  if (mask[0]) {
    grad_input = product_is_fused(Direction::Backward, grad, w) ? product(Direction::Backward, grad, w, {}) : grad.mm(rescale(w));
    grad_input = grad_input.view(input.sizes());
  }
  const auto x = as_matrix(input);
  if ((mask[1] || mask[2]) && scale_gradients_are_fused(grad, x, w)) {
    std::tie(grad_scale_in, grad_scale_out, grad_bias) =
        scale_gradients(grad, x.contiguous(), w, scale_in.scalar_type(), scale_out.scalar_type(), {mask[1], mask[2], mask[3]});
    if (mask[1]) grad_scale_in = grad_scale_in.view(scale_in.sizes());
  } else if (mask[1] || mask[2] || mask[3]) {
    const std::array<bool, 4> rest = {false, mask[1], mask[2], mask[3]};
    std::tie(std::ignore, grad_scale_in, grad_scale_out, grad_bias) =
        rescaled::backward(grad_output, input, weight, scale_in, scale_out, residual, rest);
  }
  return {grad_input, grad_scale_in, grad_scale_out, grad_bias};
}

}  // namespace

void implement_rescaled_linear(torch::Library& library) {
  library.impl("rescaled_linear", rescaled_linear_cuda);
  library.impl("rescaled_linear_backward", rescaled_linear_backward_cuda);
}

}  // namespace respeft::ops::cuda
