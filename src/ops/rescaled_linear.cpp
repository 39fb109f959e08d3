#include <respeft/ops/rescaled_linear.h>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "src/ops/linear_check.h"
#include "src/ops/rescaled_linear_check.h"

namespace respeft::ops {

TORCH_LIBRARY_FRAGMENT(respeft, m) {
  m.def(
      "rescaled_linear(Tensor input, Tensor weight, Tensor? bias, Tensor scale_in, Tensor scale_out, bool residual=True) "
      "-> Tensor");
  m.def(
      "rescaled_linear_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor scale_in, Tensor scale_out, "
      "bool residual, bool[4] output_mask) "
      "-> (Tensor grad_input, Tensor grad_scale_in, Tensor grad_scale_out, Tensor grad_bias)");
}

at::Tensor rescaled_linear(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                           const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("respeft::rescaled_linear", "").typed<decltype(rescaled_linear)>();
  return op.call(input, weight, bias, scale_in, scale_out, residual);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> rescaled_linear_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& scale_in,
    const at::Tensor& scale_out, bool residual, std::array<bool, 4> output_mask) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("respeft::rescaled_linear_backward", "")
                             .typed<decltype(rescaled_linear_backward)>();
  return op.call(grad_output, input, weight, scale_in, scale_out, residual, output_mask);
}

at::Tensor rescale_weight(const at::Tensor& weight, const at::Tensor& scale_in, const at::Tensor& scale_out, bool residual) {
  const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
  const auto groups = scale_in.dim() == 2 ? scale_in.size(0) : 1;
  TORCH_CHECK(
      weight.dim() == 2 && scale_in.dim() <= 2 && scale_in.dim() > 0 && scale_in.size(-1) == weight.size(1) && groups > 0 &&
          weight.size(0) % groups == 0 && scale_out.dim() == 1 && scale_out.size(0) == weight.size(0),
      "rescale_weight: expected weight [out, in], scale_in [in] or [groups, in] with groups that divide out, and scale_out "
      "[out], got ",
      weight.sizes(), ", ", scale_in.sizes(), " and ", scale_out.sizes());
  const auto rows = weight.size(0) / groups;
  const auto in = scale_in.to(dtype).reshape({groups, 1, weight.size(1)});
  const auto out = scale_out.to(dtype).reshape({groups, rows, 1});
  return (weight.to(dtype).view({groups, rows, weight.size(1)}) * (out * in + (residual ? 1.0 : 0.0)))
      .view(weight.sizes())
      .to(weight.scalar_type());
}

namespace {

void check_scale(const char* op, const char* name, const at::Tensor& scale, const at::Tensor& input) {
  TORCH_CHECK(scale.scalar_type() == input.scalar_type() || scale.scalar_type() == at::kFloat, op, ": expected ", name,
              " of input's dtype ", input.scalar_type(), " or float32, got ", scale.scalar_type());
  TORCH_CHECK(scale.device() == input.device(), op, ": expected ", name, " on ", input.device(), " as input is, got ",
              scale.device());
}

}  // namespace

void check_rescaled_linear(const char* op, const at::Tensor& input, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, const at::Tensor& scale_in, const at::Tensor& scale_out) {
  check_linear(op, input, weight, bias);
  const auto out = weight.sym_size(0), in = weight.sym_size(1);
  TORCH_CHECK((scale_in.dim() == 1 || scale_in.dim() == 2) && scale_in.sym_size(-1) == in, op, ": expected scale_in [", in,
              "] or [groups, ", in, "], got ", scale_in.sym_sizes());
  const auto groups = scale_groups(scale_in);
  TORCH_CHECK(groups > 0 && out % groups == 0, op, ": expected the ", out,
              " rows of weight to divide into scale_in's groups, got ", scale_in.sym_sizes());
  TORCH_CHECK(scale_out.dim() == 1 && scale_out.sym_size(0) == out, op, ": expected scale_out [", out, "], got ",
              scale_out.sym_sizes());
  check_scale(op, "scale_in", scale_in, input);
  check_scale(op, "scale_out", scale_out, input);
}

void check_rescaled_linear_grad(const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight) {
  check_beside_input("rescaled_linear_backward", "grad_output", grad_output, input, weight.sym_size(0));
}

}  // namespace respeft::ops
