#include <respeft/ops/shortcut.h>

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "src/ops/linear_check.h"
#include "src/ops/shortcut_check.h"
#include "src/ops/shortcut_formulas.h"

namespace respeft::ops {

TORCH_LIBRARY_FRAGMENT(respeft, m) {
  m.def(
      "shortcut_linear(Tensor input, Tensor weight, Tensor? bias, Tensor down, Tensor up, Tensor? previous, float scaling, "
      "int[] rows=[0], Tensor? branch=None) -> (Tensor output, Tensor middle)");
  m.def(
      "shortcut_linear_backward(Tensor grad_output, Tensor? grad_middle, Tensor input, Tensor weight, Tensor down, Tensor up, "
      "Tensor middle, float scaling, int[] rows, Tensor? branch, bool[6] output_mask) -> (Tensor grad_input, Tensor grad_bias, "
      "Tensor grad_down, Tensor grad_up, Tensor grad_previous, Tensor grad_branch)");
  m.def(
      "folded_linear(Tensor input, Tensor weight, Tensor? bias, Tensor down, Tensor up, float scaling, int[] rows=[0], "
      "bool dense_gradient=False) -> Tensor");
  m.def(
      "folded_linear_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor down, Tensor up, float scaling, int[] "
      "rows, "
      "bool dense_gradient, bool[4] output_mask) -> (Tensor grad_input, Tensor grad_bias, Tensor grad_down, Tensor grad_up)");
}

namespace {

template <class Function>
auto find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> shortcut_linear(const at::Tensor& input, const at::Tensor& weight,
                                                   const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                   const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                   double scaling, at::IntArrayRef rows,
                                                   const std::optional<at::Tensor>& branch) {
  static const auto op = find<decltype(shortcut_linear)>("respeft::shortcut_linear");
  return op.call(input, weight, bias, down, up, previous, scaling, rows, branch);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> shortcut_linear_backward(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> output_mask) {
  static const auto op = find<decltype(shortcut_linear_backward)>("respeft::shortcut_linear_backward");
  return op.call(grad_output, grad_middle, input, weight, down, up, middle, scaling, rows, branch, output_mask);
}

at::Tensor folded_linear(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                         bool dense_gradient) {
  static const auto op = find<decltype(folded_linear)>("respeft::folded_linear");
  return op.call(input, weight, bias, down, up, scaling, rows, dense_gradient);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_linear_backward(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down,
    const at::Tensor& up, double scaling, at::IntArrayRef rows, bool dense_gradient, std::array<bool, 4> output_mask) {
  static const auto op = find<decltype(folded_linear_backward)>("respeft::folded_linear_backward");
  return op.call(grad_output, input, weight, down, up, scaling, rows, dense_gradient, output_mask);
}

at::Tensor fold_low_rank(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling,
                         at::IntArrayRef rows) {
  const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
  return shortcut::fold(weight.to(dtype), down.to(dtype), up.to(dtype), scaling, rows).to(weight.scalar_type());
}

namespace {

void check_rows(const char* op, const at::Tensor& weight, const at::Tensor& up, at::IntArrayRef rows) {
  TORCH_CHECK(!rows.empty(), op, ": expected at least one entry in rows");
  const auto count = static_cast<int64_t>(rows.size());
  TORCH_CHECK(up.dim() == 2 && up.sym_size(0) % count == 0, op, ": expected up [groups · height, rank] for ", count,
              " groups, got ", up.sym_sizes());
  const auto height = up.sym_size(0) / count;
  for (size_t g = 0; g < rows.size(); ++g) {
    const auto first = g == 0 ? c10::SymInt(0) : rows[g - 1] + height;
    TORCH_CHECK(rows[g] >= first && rows[g] + height <= weight.sym_size(0), op, ": expected rows to be ascending starts of ",
                count, " groups of ", height, " output rows within ", weight.sym_size(0), ", got ", rows);
  }
}

void check_factors(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                   const at::Tensor& down, const at::Tensor& up, at::IntArrayRef rows, bool may_be_float = false) {
  check_linear(op, input, weight, bias, may_be_float);
  const auto in = weight.sym_size(1);
  TORCH_CHECK(down.dim() == 2 && down.sym_size(1) == in, op, ": expected down [rank, ", in, "], got ", down.sym_sizes());
  check_rows(op, weight, up, rows);
  const auto check_dtype = may_be_float ? check_alike_or_float : check_alike;
  check_dtype(op, "down", down, input);
  check_dtype(op, "up", up, input);
}

}  // namespace

void check_shortcut_linear(const char* op, const at::Tensor& input, const at::Tensor& weight,
                           const std::optional<at::Tensor>& bias, const at::Tensor& down, const at::Tensor& up,
                           const std::optional<at::Tensor>& previous, at::IntArrayRef rows,
                           const std::optional<at::Tensor>& branch) {
  check_factors(op, input, weight, bias, down, up, rows);
  const auto used = up.sym_size(1) * static_cast<int64_t>(rows.size());
  TORCH_CHECK(down.sym_size(0) >= used, op, ": expected down to have at least the ", used, " rows that up [", up.sym_size(0),
              ", ", up.sym_size(1), "] reads, got ", down.sym_sizes());
  if (previous.has_value() && previous->defined()) check_beside_input(op, "previous", *previous, input, used);
  if (branch.has_value() && branch->defined()) check_beside_input(op, "branch", *branch, input, input.sym_size(-1));
}

void check_folded_linear(const char* op, const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                         const at::Tensor& down, const at::Tensor& up, at::IntArrayRef rows) {
  check_factors(op, input, weight, bias, down, up, rows, /*may_be_float=*/true);
  const auto used = up.sym_size(1) * static_cast<int64_t>(rows.size());
  TORCH_CHECK(down.sym_size(0) == used, op, ": expected down to have the ", used, " rows that up [", up.sym_size(0), ", ",
              up.sym_size(1), "] reads, got ", down.sym_sizes());
}

}  // namespace respeft::ops
