#include "src/ops/linear_check.h"

namespace respeft::ops {

namespace {

void check_device(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input) {
  TORCH_CHECK(tensor.device() == input.device(), op, ": expected ", name, " on ", input.device(), " as input is, got ",
              tensor.device());
}

}  // namespace

void check_alike(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input) {
  TORCH_CHECK(tensor.scalar_type() == input.scalar_type(), op, ": expected ", name, " of input's dtype ", input.scalar_type(),
              ", got ", tensor.scalar_type());
  check_device(op, name, tensor, input);
}

void check_alike_or_float(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input) {
  const bool lower = input.scalar_type() == at::kBFloat16 || input.scalar_type() == at::kHalf;
  TORCH_CHECK(tensor.scalar_type() == input.scalar_type() || (lower && tensor.scalar_type() == at::kFloat), op, ": expected ",
              name, " of input's dtype ", input.scalar_type(), lower ? " or float32" : "", ", got ", tensor.scalar_type());
  check_device(op, name, tensor, input);
}

void check_beside_input(const char* op, const char* name, const at::Tensor& tensor, const at::Tensor& input,
                        const c10::SymInt& columns) {
  auto expected = input.sym_sizes().vec();
  expected.back() = columns;
  TORCH_CHECK(tensor.sym_sizes().equals(expected), op, ": expected ", name, " ", c10::SymIntArrayRef(expected), ", got ",
              tensor.sym_sizes());
  check_alike(op, name, tensor, input);
}

void check_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                  bool float_weight) {
  TORCH_CHECK(input.is_floating_point(), op, ": expected a floating-point input, got ", input.scalar_type());
  TORCH_CHECK(input.dim() >= 1, op, ": expected input [..., in], got a scalar");
  TORCH_CHECK(weight.dim() == 2, op, ": expected weight [out, in], got ", weight.sym_sizes());
  const auto out = weight.sym_size(0), in = weight.sym_size(1);
  TORCH_CHECK(input.sym_size(-1) == in, op, ": expected input [..., ", in, "] for weight ", weight.sym_sizes(), ", got ",
              input.sym_sizes());
  (float_weight ? check_alike_or_float : check_alike)(op, "weight", weight, input);
  if (bias.has_value() && bias->defined()) {
    TORCH_CHECK(bias->dim() == 1 && bias->sym_size(0) == out, op, ": expected bias [", out, "], got ", bias->sym_sizes());
    check_alike(op, "bias", *bias, input);
  }
}

}  // namespace respeft::ops
