#include "src/ops/shortcut_formulas.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include "src/ops/linear_check.h"
#include "src/ops/matrix.h"
#include "src/ops/shortcut_check.h"

namespace respeft::ops::shortcut {
namespace {

/// The slices of one logical projection.
struct Group {
  c10::SymInt row, height, column, rank;
  int64_t index;

  at::Tensor outputs(const at::Tensor& tensor) const { return tensor.narrow_symint(1, row, height); }
  at::Tensor columns(const at::Tensor& middle) const { return middle.narrow_symint(1, column, rank); }
  at::Tensor downs(const at::Tensor& down) const { return down.narrow_symint(0, column, rank); }
  at::Tensor ups(const at::Tensor& up) const { return up.narrow_symint(0, height * index, height); }
};

std::vector<Group> groups(const at::Tensor& up, at::IntArrayRef rows) {
  const auto height = up.sym_size(0) / static_cast<int64_t>(rows.size()), rank = up.sym_size(1);
  std::vector<Group> all;
  for (int64_t g = 0; g < static_cast<int64_t>(rows.size()); ++g)
    all.push_back({rows[static_cast<size_t>(g)], height, rank * g, rank, g});
  return all;
}

c10::SymInt used_columns(const at::Tensor& up, at::IntArrayRef rows) {
  return up.sym_size(1) * static_cast<int64_t>(rows.size());
}

/// scaling · grad_gᵀ middle_g of every group, stacked by rows.
at::Tensor up_gradient(const at::Tensor& grad, const at::Tensor& middle, const at::Tensor& up, double scaling,
                       at::IntArrayRef rows) {
  std::vector<at::Tensor> parts;
  for (const auto& group : groups(up, rows)) parts.push_back(group.outputs(grad).t().mm(group.columns(middle)).mul(scaling));
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

/// Adds scaling · grad_g up_g to the columns of every group.
void add_middle_gradient(at::Tensor& into, const at::Tensor& grad, const at::Tensor& up, double scaling, at::IntArrayRef rows) {
  for (const auto& group : groups(up, rows)) group.columns(into).addmm_(group.outputs(grad), group.ups(up), 1.0, scaling);
}

}  // namespace

void add_update(const at::Tensor& output, const at::Tensor& middle, const at::Tensor& up, double scaling, at::IntArrayRef rows) {
  for (const auto& group : groups(up, rows)) group.outputs(output).addmm_(group.columns(middle), group.ups(up).t(), 1.0, scaling);
}

at::Tensor middle_gradient(const at::Tensor& grad, const at::Tensor& grad_middle, const at::Tensor& up,
                           const c10::SymInt& columns, double scaling, at::IntArrayRef rows) {
  auto m = grad_middle.defined() ? grad_middle.clone(at::MemoryFormat::Contiguous)
                                 : at::zeros_symint({grad.sym_size(0), columns}, grad.options());
  add_middle_gradient(m, grad, up, scaling, rows);
  return m;
}

at::Tensor fold(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows) {
  auto folded = weight.clone(at::MemoryFormat::Contiguous);
  for (const auto& group : groups(up, rows)) {
    folded.narrow_symint(0, group.row, group.height).addmm_(group.ups(up), group.downs(down), 1.0, scaling);
  }
  return folded;
}

namespace {

at::ScalarType highest(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up) {
  return at::promote_types(at::promote_types(weight.scalar_type(), down.scalar_type()), up.scalar_type());
}

/// The folded weight in `dtype`. The sum is computed in the highest precision of its terms, then rounded.
at::Tensor folded_weight(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling,
                         at::IntArrayRef rows, at::ScalarType dtype) {
  const auto terms = highest(weight, down, up);
  return fold(weight.to(terms), down.to(terms), up.to(terms), scaling, rows).to(dtype);
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& input, const at::Tensor& weight,
                                           const std::optional<at::Tensor>& bias, const at::Tensor& down, const at::Tensor& up,
                                           const std::optional<at::Tensor>& previous, double scaling, at::IntArrayRef rows,
                                           const std::optional<at::Tensor>& branch) {
  check_shortcut_linear("shortcut_linear", input, weight, bias, down, up, previous, rows, branch);
  const auto middle = as_matrix(given(branch) ? *branch : input).mm(down.t());
  if (given(previous)) middle.narrow_symint(1, 0, used_columns(up, rows)).add_(as_matrix(*previous));
  // Adds the update to the base's output in place, since nothing else reads it: one pass over [N, out] instead of three.
  const auto output = at::linear(as_matrix(input), weight, bias);
  add_update(output, middle, up, scaling, rows);
  return {unflattened(output, input), unflattened(middle, input)};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> mask) {
  constexpr auto op = "shortcut_linear_backward";
  check_shortcut_linear(op, input, weight, std::nullopt, down, up, std::nullopt, rows, branch);
  check_beside_input(op, "grad_output", grad_output, input, weight.sym_size(0));
  check_beside_input(op, "middle", middle, input, down.sym_size(0));
  if (given(grad_middle)) check_beside_input(op, "grad_middle", *grad_middle, input, down.sym_size(0));
  const auto grad = as_matrix(grad_output);
  const bool branched = given(branch);
  at::Tensor grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch;
  if (mask[0]) grad_input = grad.mm(weight);
  if (mask[1]) grad_bias = grad.sum(0);
  if (mask[3]) grad_up = up_gradient(grad, as_matrix(middle), up, scaling, rows);
  const bool through_input = mask[0] && !branched;
  if (through_input || mask[2] || mask[4] || mask[5]) {
    const auto m =
        middle_gradient(grad, given(grad_middle) ? as_matrix(*grad_middle) : at::Tensor(), up, down.sym_size(0), scaling, rows);
    if (through_input) grad_input.addmm_(m, down);
    if (mask[2]) grad_down = m.t().mm(as_matrix(branched ? *branch : input));
    if (mask[4]) grad_previous = unflattened(m.narrow_symint(1, 0, used_columns(up, rows)).contiguous(), input);
    if (mask[5]) grad_branch = unflattened(m.mm(down), input);
  }
  if (mask[0]) grad_input = unflattened(grad_input, input);
  return {grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch};
}

at::Tensor folded_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                          const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                          bool /*dense_gradient*/) {
  check_folded_linear("folded_linear", input, weight, bias, down, up, rows);
  const auto folded = folded_weight(weight, down, up, scaling, rows, input.scalar_type());
  return unflattened(at::linear(as_matrix(input), folded, bias), input);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_backward(const at::Tensor& grad_output, const at::Tensor& input,
                                                                           const at::Tensor& weight, const at::Tensor& down,
                                                                           const at::Tensor& up, double scaling,
                                                                           at::IntArrayRef rows, bool dense_gradient,
                                                                           std::array<bool, 4> mask) {
  check_folded_linear("folded_linear_backward", input, weight, std::nullopt, down, up, rows);
  check_beside_input("folded_linear_backward", "grad_output", grad_output, input, weight.sym_size(0));
  const auto grad = as_matrix(grad_output), x = as_matrix(input);
  const auto dtype = input.scalar_type();
  at::Tensor grad_input, grad_bias, grad_down, grad_up;
  if (mask[0]) grad_input = unflattened(grad.mm(folded_weight(weight, down, up, scaling, rows, dtype)), input);
  if (mask[1]) grad_bias = grad.sum(0);
  if (dense_gradient && (mask[2] || mask[3])) {
    const auto terms = highest(weight, down, up);
    const auto product = grad.t().mm(x).to(terms);  // [out, in]
    std::vector<at::Tensor> downs, ups;
    for (const auto& group : groups(up, rows)) {
      const auto part = product.narrow_symint(0, group.row, group.height);
      if (mask[2]) downs.push_back(group.ups(up).to(terms).t().mm(part).mul(scaling));
      if (mask[3]) ups.push_back(part.mm(group.downs(down).to(terms).t()).mul(scaling));
    }
    if (mask[2]) grad_down = at::cat(downs, 0);
    if (mask[3]) grad_up = at::cat(ups, 0);
  } else {
    if (mask[2]) {
      auto m = at::zeros_symint({grad.sym_size(0), down.sym_size(0)}, grad.options());
      add_middle_gradient(m, grad, up.to(dtype), scaling, rows);
      grad_down = m.t().mm(x);
    }
    if (mask[3]) grad_up = up_gradient(grad, x.mm(down.to(dtype).t()), up, scaling, rows);
  }
  if (mask[2]) grad_down = grad_down.to(down.scalar_type());
  if (mask[3]) grad_up = grad_up.to(up.scalar_type());
  return {grad_input, grad_bias, grad_down, grad_up};
}

}  // namespace respeft::ops::shortcut
