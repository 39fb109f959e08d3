#include "cuda/shortcut.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/promote_types.h>
#include <c10/core/DeviceGuard.h>

#include <algorithm>
#include <limits>

#include "src/ops/cuda/device.h"
#include "src/ops/cuda/elements.h"
#include "src/ops/cuda/operators.h"
#include "src/ops/cuda/way.h"
#include "src/ops/matrix.h"
#include "src/ops/shortcut_check.h"
#include "src/ops/shortcut_formulas.h"

namespace respeft::ops::cuda {
namespace {

using ::respeft::cuda::Direction;
using ::respeft::cuda::Groups;
using ::respeft::cuda::ProductSize;

/// `[..., n]` -> `[N, n]`, contiguous.
at::Tensor contiguous_matrix(const at::Tensor& tensor) {
  return as_matrix(tensor).contiguous();
}

/// True if the kernels support these arguments. The formulas compute the others: float64, many groups, sides with more than
/// 32-bit indices, and empty tensors.
bool has_kernels(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up,
                 at::IntArrayRef rows) {
  const auto longest = std::max({input.numel() / std::max<int64_t>(input.size(-1), 1), weight.size(0), weight.size(1)});
  constexpr int64_t kMostColumns =
      int64_t{::respeft::cuda::kThinProductCut.columns} * 65535;  // tiles in the grid's second dimension
  return longest <= std::numeric_limits<int32_t>::max() && down.size(0) <= kMostColumns && input.scalar_type() != at::kDouble &&
         rows.size() <= Groups::kMost && input.numel() > 0 && weight.numel() > 0 && up.numel() > 0;
}

Groups make_groups(const at::Tensor& up, at::IntArrayRef rows) {
  Groups groups{static_cast<int>(rows.size()), up.size(0) / static_cast<int64_t>(rows.size()), up.size(1), {}};
  std::copy(rows.begin(), rows.end(), groups.rows);
  return groups;
}

/// Arguments of factor · product + addend, where the addend covers the first columns.
struct ThinArguments {
  const at::Tensor& input;   ///< `[tokens, ·]`
  const at::Tensor& factor;  ///< down (Forward) or up (Backward)
  at::Tensor addend;         ///< `[tokens, columns]`, or undefined
  int64_t columns;           ///< number of the addend's columns to add
  double scaling;
  Groups groups;
};

/// Fills the columns of the groups.
void thin_product(Direction direction, at::Tensor& output, const ThinArguments& a) {
  RESPEFT_DISPATCH(a.input, "shortcut_linear", [&] {
    ::respeft::cuda::ThinProductParams<ElementOf<scalar_t>> params{data<scalar_t>(a.input), data<scalar_t>(a.factor),
                                                                   data<scalar_t>(a.addend), mutable_data<scalar_t>(output)};
    params.tokens = a.input.size(0);
    params.input_stride = a.input.size(1);
    params.addend_stride = a.addend.defined() ? a.addend.size(1) : 0;
    params.addend_columns = a.columns;
    params.output_stride = output.size(1);
    params.depth = a.input.size(1);
    params.scaling = static_cast<float>(a.scaling);
    params.groups = a.groups;
    params.align(direction);
    check(::respeft::cuda::launch_thin_product(direction, params, exact_products(), stream()));
  });
}

struct UpdateArguments {
  const at::Tensor &input, &weight;
  at::Tensor bias;           ///< or undefined
  const at::Tensor& middle;  ///< or its gradient (Backward)
  const at::Tensor& factor;  ///< up (Forward) or down (Backward)
  double scaling;
  Groups groups;
};

at::Tensor updated_product(Direction direction, const UpdateArguments& a) {
  const bool forward = direction == Direction::Forward;
  auto output = at::empty({a.input.size(0), a.weight.size(forward ? 0 : 1)}, a.input.options());
  RESPEFT_DISPATCH(a.input, "shortcut_linear", [&] {
    ::respeft::cuda::UpdatedProductParams<ElementOf<scalar_t>> params{data<scalar_t>(a.input),  data<scalar_t>(a.weight),
                                                                      data<scalar_t>(a.bias),   data<scalar_t>(a.middle),
                                                                      data<scalar_t>(a.factor), mutable_data<scalar_t>(output)};
    params.tokens = a.input.size(0);
    params.in = a.weight.size(1);
    params.out = a.weight.size(0);
    params.middle_columns = a.middle.size(1);
    params.scaling = static_cast<float>(a.scaling);
    params.groups = a.groups;
    params.align(direction);
    check(::respeft::cuda::launch_updated_product(direction, params, exact_products(), stream()));
  });
  return output;
}

/// W + scaling · up down, as a new tensor; all of one dtype.
at::Tensor fold(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows) {
  auto folded = at::empty_like(weight, weight.options(), at::MemoryFormat::Contiguous);
  const auto w = weight.contiguous(), d = down.contiguous(), u = up.contiguous();
  RESPEFT_DISPATCH(weight, "folded_linear", [&] {
    ::respeft::cuda::FoldParams<ElementOf<scalar_t>> params{data<scalar_t>(w), data<scalar_t>(d), data<scalar_t>(u),
                                                            mutable_data<scalar_t>(folded)};
    params.in = w.size(1);
    params.out = w.size(0);
    params.scaling = static_cast<float>(scaling);
    params.groups = make_groups(up, rows);
    params.align();
    check(::respeft::cuda::launch_fold_update(params, exact_products(), stream()));
  });
  return folded;
}

bool thin_is_fused(const at::Tensor& input, int64_t columns, int64_t depth, bool adds) {
  const ProductSize size{input.size(0), columns, depth};
  return takes_fused(fused_thin_product(gpu(), arithmetic(input), size),
                     composed_thin_product(gpu(), arithmetic(input), size, adds));
}

bool middle_gradient_is_fused(const at::Tensor& grad, const Groups& groups, bool adds) {
  const ProductSize size{grad.size(0), groups.rank, groups.height};
  return takes_fused(fused_thin_product(gpu(), arithmetic(grad), size, groups.count),
                     composed_middle_gradient(gpu(), arithmetic(grad), size, adds, groups.count));
}

bool update_is_fused(const at::Tensor& input, int64_t columns, const Groups& groups) {
  const ProductSize size{input.size(0), columns, input.size(1)};
  return takes_fused(fused_updated_product(gpu(), arithmetic(input), size, groups),
                     composed_updated_product(gpu(), arithmetic(input), size, groups));
}

std::tuple<at::Tensor, at::Tensor> shortcut_linear_cuda(const at::Tensor& input, const at::Tensor& weight,
                                                        const std::optional<at::Tensor>& bias, const at::Tensor& down,
                                                        const at::Tensor& up, const std::optional<at::Tensor>& previous,
                                                        double scaling, at::IntArrayRef rows,
                                                        const std::optional<at::Tensor>& branch) {
  check_shortcut_linear("shortcut_linear", input, weight, bias, down, up, previous, rows, branch);
  const c10::DeviceGuard guard(input.device());
  if (!has_kernels(input, weight, down, up, rows))
    return shortcut::forward(input, weight, bias, down, up, previous, scaling, rows, branch);
  const auto x = contiguous_matrix(input), z = given(branch) ? contiguous_matrix(*branch) : x;
  const auto a = down.contiguous(), b = up.contiguous();
  const auto groups = make_groups(b, rows);
  const int64_t used = groups.count * groups.rank, columns = a.size(0);
  const auto passed = given(previous) ? contiguous_matrix(*previous) : at::Tensor();

  at::Tensor middle;
  if (thin_is_fused(z, columns, z.size(1), passed.defined())) {
    middle = at::empty({z.size(0), columns}, z.options());
    thin_product(Direction::Forward, middle, {z, a, passed, used, 1.0, Groups{1, 0, columns, {}}});
  } else {
    middle = z.mm(a.t());
    if (passed.defined()) middle.narrow(1, 0, used).add_(passed);
  }
  at::Tensor output;
  if (update_is_fused(x, weight.size(0), groups)) {
    output = updated_product(Direction::Forward, {x, weight.contiguous(), given(bias) ? bias->contiguous() : at::Tensor(), middle,
                                                  b, scaling, groups});
  } else {
    output = at::linear(x, weight, bias);
    shortcut::add_update(output, middle, b, scaling, rows);
  }
  return {unflattened(output, input), unflattened(middle, input)};
}

/// grad_middle + scaling · (grad_g up_g, side by side), `[tokens, columns]`.
at::Tensor middle_gradient(const at::Tensor& grad, const at::Tensor& grad_middle, const at::Tensor& up, int64_t columns,
                           double scaling, at::IntArrayRef rows) {
  const auto groups = make_groups(up, rows);
  const int64_t used = groups.count * groups.rank;
  if (!middle_gradient_is_fused(grad, groups, grad_middle.defined()))
    return shortcut::middle_gradient(grad, grad_middle, up, columns, scaling, rows);
  auto m = at::empty({grad.size(0), columns}, grad.options());
  thin_product(Direction::Backward, m, {grad, up, grad_middle, used, scaling, groups});
  if (columns > used) {
    auto rest = m.narrow(1, used, columns - used);
    grad_middle.defined() ? rest.copy_(grad_middle.narrow(1, used, columns - used)) : rest.zero_();
  }
  return m;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> shortcut_linear_backward_cuda(
    const at::Tensor& grad_output, const std::optional<at::Tensor>& grad_middle, const at::Tensor& input,
    const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, const at::Tensor& middle, double scaling,
    at::IntArrayRef rows, const std::optional<at::Tensor>& branch, std::array<bool, 6> mask) {
  check_shortcut_linear("shortcut_linear_backward", input, weight, std::nullopt, down, up, std::nullopt, rows, branch);
  const c10::DeviceGuard guard(input.device());
  const bool branched = given(branch);
  // The gradients of the bias and of `up` are plain cuBLAS products.
  const bool kernels = has_kernels(input, weight, down, up, rows);
  const std::array<bool, 6> plain = {false, mask[1], false, mask[3], false, false};
  auto gradients = shortcut::backward(grad_output, grad_middle, input, weight, down, up, middle, scaling, rows, branch,
                                      kernels ? plain : mask);
  if (!kernels || !(mask[0] || mask[2] || mask[4] || mask[5])) return gradients;
  auto& [grad_input, grad_bias, grad_down, grad_up, grad_previous, grad_branch] = gradients;

  const auto grad = contiguous_matrix(grad_output), a = down.contiguous(), b = up.contiguous(), w = weight.contiguous();
  const bool through_input = mask[0] && !branched;
  at::Tensor m;
  if (through_input || mask[2] || mask[4] || mask[5]) {
    m = middle_gradient(grad, given(grad_middle) ? contiguous_matrix(*grad_middle) : at::Tensor(), b, a.size(0), scaling, rows);
  }
  if (through_input && update_is_fused(grad, w.size(1), Groups{1, w.size(1), m.size(1), {}})) {
    grad_input = updated_product(Direction::Backward, {grad, w, {}, m, a, 1.0, {}});
  } else if (mask[0]) {
    grad_input = grad.mm(w);
    if (through_input) grad_input.addmm_(m, a);
  }
  if (mask[0]) grad_input = unflattened(grad_input, input);
  if (mask[2]) grad_down = m.t().mm(contiguous_matrix(branched ? *branch : input));
  if (mask[4]) grad_previous = unflattened(m.narrow(1, 0, b.size(1) * static_cast<int64_t>(rows.size())).contiguous(), input);
  if (mask[5]) grad_branch = unflattened(m.mm(a), input);
  return gradients;
}

/// The folded weight in the input's dtype; float32 factors of a lower-precision layer are folded in float32.
at::Tensor folded_weight(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up,
                         double scaling, at::IntArrayRef rows) {
  const auto terms = at::promote_types(weight.scalar_type(), at::promote_types(down.scalar_type(), up.scalar_type()));
  return fold(weight.to(terms), down.to(terms), up.to(terms), scaling, rows).to(input.scalar_type());
}

bool fold_is_fused(const at::Tensor& weight, const at::Tensor& down, const at::Tensor& up, at::IntArrayRef rows) {
  // The dtype of `folded_weight`: float32 if any term is float32.
  const auto& widest = up.scalar_type() == at::kFloat ? up : down.scalar_type() == at::kFloat ? down : weight;
  const auto kind = arithmetic(widest);
  const auto groups = make_groups(up, rows);
  return takes_fused(fused_fold(gpu(), kind, weight.size(0), weight.size(1), groups),
                     composed_fold(gpu(), kind, weight.size(0), weight.size(1), groups));
}

at::Tensor folded_linear_cuda(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                              const at::Tensor& down, const at::Tensor& up, double scaling, at::IntArrayRef rows,
                              bool dense_gradient) {
  check_folded_linear("folded_linear", input, weight, bias, down, up, rows);
  const c10::DeviceGuard guard(input.device());
  if (!has_kernels(input, weight, down, up, rows) || !fold_is_fused(weight, down, up, rows))
    return shortcut::folded_forward(input, weight, bias, down, up, scaling, rows, dense_gradient);
  return at::linear(input, folded_weight(input, weight, down, up, scaling, rows), bias);
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> folded_linear_backward_cuda(
    const at::Tensor& grad_output, const at::Tensor& input, const at::Tensor& weight, const at::Tensor& down,
    const at::Tensor& up, double scaling, at::IntArrayRef rows, bool dense_gradient, std::array<bool, 4> mask) {
  check_folded_linear("folded_linear_backward", input, weight, std::nullopt, down, up, rows);
  const c10::DeviceGuard guard(input.device());
  const bool folds = mask[0] && has_kernels(input, weight, down, up, rows) && fold_is_fused(weight, down, up, rows);
  auto rest = mask;
  rest[0] = mask[0] && !folds;
  auto gradients = shortcut::folded_backward(grad_output, input, weight, down, up, scaling, rows, dense_gradient, rest);
  if (folds) {
    const auto folded = folded_weight(input, weight, down, up, scaling, rows);
    std::get<0>(gradients) = unflattened(contiguous_matrix(grad_output).mm(folded), input);
  }
  return gradients;
}

}  // namespace

void implement_shortcut(torch::Library& library) {
  library.impl("shortcut_linear", shortcut_linear_cuda);
  library.impl("shortcut_linear_backward", shortcut_linear_backward_cuda);
  library.impl("folded_linear", folded_linear_cuda);
  library.impl("folded_linear_backward", folded_linear_backward_cuda);
}

}  // namespace respeft::ops::cuda
