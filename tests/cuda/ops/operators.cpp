#include "tests/cuda/ops/operators.h"

#include <ATen/ATen.h>
#include <respeft/ops/rescaled_linear.h>
#include <respeft/ops/shortcut.h>

#include <optional>

namespace respeft::ops::test {

at::Tensor draw(std::vector<int64_t> leading, const std::vector<int64_t>& sizes, double scale, at::ScalarType dtype) {
  leading.insert(leading.end(), sizes.begin(), sizes.end());
  return (at::randn(leading, at::kDouble) * scale).to(dtype).to(at::kDouble);
}

namespace {

constexpr double kScaling = 0.75;

std::optional<at::Tensor> optional(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

struct RescaledCase {
  std::vector<int64_t> leading;
  int64_t in, out, groups;
  bool residual, bias;
};

Tensors plain_rescaled(const Tensors& a, bool residual) {
  const auto dtype = a[kInput].scalar_type();
  const auto in = a[3].to(dtype), out = a[4].to(dtype);
  const auto rows = in.dim() == 2 ? in.repeat_interleave(a[kWeight].size(0) / in.size(0), 0) : in.unsqueeze(0);
  const auto factor = out.unsqueeze(1) * rows;
  return {at::linear(a[kInput], a[kWeight] * (residual ? factor + 1.0 : factor), a[2])};
}

Operator rescaled(const RescaledCase& c, at::ScalarType dtype, at::ScalarType beside) {
  at::manual_seed(7);
  const auto in_sizes = c.groups == 1 ? std::vector<int64_t>{c.in} : std::vector<int64_t>{c.groups, c.in};
  const bool residual = c.residual;
  Operator op;
  op.arguments = {draw(c.leading, {c.in}, 1.0, dtype), draw({}, {c.out, c.in}, 0.3, dtype),
                  c.bias ? draw({}, {c.out}, 1.0, dtype) : at::Tensor(), draw({}, in_sizes, 0.5, beside),
                  draw({}, {c.out}, 0.5, beside)};
  op.may_be_float = {false, false, false, true, true};
  op.call = [=](const Tensors& a) { return Tensors{rescaled_linear(a[0], a[1], optional(a[2]), a[3], a[4], residual)}; };
  op.plain = [=](const Tensors& a) { return plain_rescaled(a, residual); };
  op.backward = [=](const Tensors& a, const Tensors&, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, in, out, bias] =
        rescaled_linear_backward(seeds[0], a[0], a[1], a[3], a[4], residual, {wanted[0], wanted[3], wanted[4], wanted[2]});
    return Tensors{x, {}, bias, in, out};
  };
  return op;
}

struct UpdateCase {
  std::vector<int64_t> leading;
  int64_t in, out, height, rank;
  std::vector<int64_t> rows;
  int64_t handed_out;  ///< rows of `down` beyond those that `up` reads
  bool bias, previous, branch;
};

/// One group after the other.
Tensors plain_shortcut(const Tensors& a, at::IntArrayRef rows) {
  const auto &x = a[kInput], &weight = a[kWeight], &down = a[3], &up = a[4], &previous = a[5], &branch = a[6];
  const int64_t count = static_cast<int64_t>(rows.size()), height = up.size(0) / count, rank = up.size(1);
  auto middle = at::linear(branch.defined() ? branch : x, down);
  if (previous.defined()) middle = middle + at::constant_pad_nd(previous, {0, down.size(0) - count * rank});
  auto output = at::linear(x, weight, a[2]);
  for (int64_t g = 0; g < count; ++g) {
    const auto update = kScaling * at::matmul(middle.narrow(-1, g * rank, rank), up.narrow(0, g * height, height).t());
    const int64_t row = rows[static_cast<size_t>(g)];
    output = output + at::constant_pad_nd(update, {row, weight.size(0) - row - height});
  }
  return {output, middle};
}

Tensors plain_folded(const Tensors& a, at::IntArrayRef rows) {
  const auto &weight = a[kWeight], &down = a[3], &up = a[4];
  const int64_t count = static_cast<int64_t>(rows.size()), height = up.size(0) / count, rank = up.size(1);
  auto folded = weight;
  for (int64_t g = 0; g < count; ++g) {
    const auto update = kScaling * at::matmul(up.narrow(0, g * height, height), down.narrow(0, g * rank, rank));
    const int64_t row = rows[static_cast<size_t>(g)];
    folded = folded + at::constant_pad_nd(update, {0, 0, row, weight.size(0) - row - height});
  }
  return {at::linear(a[kInput], folded.to(a[kInput].scalar_type()), a[2])};
}

Tensors update_arguments(const UpdateCase& c, at::ScalarType dtype, at::ScalarType beside) {
  at::manual_seed(7);
  const int64_t groups = static_cast<int64_t>(c.rows.size()), used = c.rank * groups;
  return {draw(c.leading, {c.in}, 1.0, dtype),
          draw({}, {c.out, c.in}, 0.3, beside),
          c.bias ? draw({}, {c.out}, 1.0, dtype) : at::Tensor(),
          draw({}, {used + c.handed_out, c.in}, 0.3, beside),
          draw({}, {c.height * groups, c.rank}, 0.5, beside),
          c.previous ? draw(c.leading, {used}, 1.0, dtype) : at::Tensor(),
          c.branch ? draw(c.leading, {c.in}, 1.0, dtype) : at::Tensor()};
}

Operator shortcut(const UpdateCase& c, at::ScalarType dtype) {
  const auto rows = c.rows;
  Operator op;
  op.arguments = update_arguments(c, dtype, dtype);
  op.may_be_float = std::vector<bool>(op.arguments.size(), false);
  op.call = [=](const Tensors& a) {
    const auto [output, middle] =
        shortcut_linear(a[0], a[1], optional(a[2]), a[3], a[4], optional(a[5]), kScaling, rows, optional(a[6]));
    return Tensors{output, middle};
  };
  op.plain = [=](const Tensors& a) { return plain_shortcut(a, rows); };
  op.backward = [=](const Tensors& a, const Tensors& outputs, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, bias, down, up, previous, branch] =
        shortcut_linear_backward(seeds[0], optional(seeds[1]), a[0], a[1], a[3], a[4], outputs[1], kScaling, rows, optional(a[6]),
                                 {wanted[0], wanted[2], wanted[3], wanted[4], wanted[5], wanted[6]});
    return Tensors{x, {}, bias, down, up, previous, branch};
  };
  return op;
}

Operator folded(UpdateCase c, bool dense, at::ScalarType dtype, at::ScalarType beside) {
  c.handed_out = 0, c.previous = c.branch = false;
  const auto rows = c.rows;
  Operator op;
  op.arguments = update_arguments(c, dtype, beside);
  op.arguments.resize(5);
  op.may_be_float = {false, true, false, true, true};
  op.call = [=](const Tensors& a) {
    return Tensors{folded_linear(a[0], a[1], optional(a[2]), a[3], a[4], kScaling, rows, dense)};
  };
  op.plain = [=](const Tensors& a) { return plain_folded(a, rows); };
  op.backward = [=](const Tensors& a, const Tensors&, const Tensors& seeds, const std::vector<bool>& wanted) {
    const auto [x, bias, down, up] = folded_linear_backward(seeds[0], a[0], a[1], a[3], a[4], kScaling, rows, dense,
                                                            {wanted[0], wanted[2], wanted[3], wanted[4]});
    return Tensors{x, {}, bias, down, up};
  };
  return op;
}

const std::vector<RescaledCase> kRescaledCases = {
    {{}, 5, 3, 1, true, true},           {{0}, 5, 3, 1, true, true},          {{1}, 1, 1, 1, true, false},
    {{7}, 33, 65, 1, true, true},        {{2, 3}, 17, 12, 3, true, true},     {{2, 3}, 17, 12, 3, false, true},
    {{3, 1, 5}, 24, 40, 2, true, false}, {{2, 0, 4}, 8, 6, 3, true, true},    {{9}, 64, 129, 3, false, false},
    {{4}, 0, 6, 1, true, true},          {{4}, 6, 0, 1, true, true},          {{13}, 96, 288, 3, true, true},
    {{600}, 24, 140, 1, true, true},     {{2, 65}, 136, 264, 3, true, false}, {{2, 197}, 384, 1152, 3, true, true},
};

const std::vector<UpdateCase> kUpdateCases = {
    {{}, 5, 3, 3, 2, {0}, 0, true, false, false},
    {{0}, 5, 3, 3, 2, {0}, 1, true, true, false},
    {{1}, 1, 1, 1, 1, {0}, 0, false, false, false},
    {{7}, 33, 65, 65, 1, {0}, 0, true, true, false},
    {{2, 3}, 17, 12, 4, 3, {0, 4, 8}, 0, true, true, false},
    {{2, 3}, 17, 12, 4, 3, {0, 8}, 6, false, true, false},
    {{3, 1, 5}, 24, 40, 10, 8, {30}, 8, true, true, true},
    {{2, 0, 4}, 8, 6, 2, 2, {2, 4}, 2, true, false, true},
    {{9}, 64, 129, 43, 5, {43}, 0, false, false, true},
    {{4}, 0, 6, 6, 2, {0}, 0, true, true, false},
    {{4}, 6, 0, 0, 2, {0}, 0, true, true, false},
    {{13}, 96, 288, 96, 7, {0, 96, 192}, 21, true, true, true},
    {{11}, 20, 36, 4, 2, {0, 4, 8, 12, 16, 20, 24, 28, 32}, 0, true, true, false},  // more groups than the kernels take
    {{2, 65}, 136, 264, 88, 40, {0, 176}, 16, true, true, false},
    {{2, 197}, 384, 1152, 384, 8, {0, 384, 768}, 24, true, true, false},
};

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (size_t i = 0; i < kRescaledCases.size(); ++i) {
    all.push_back({"Rescaled" + std::to_string(i),
                   [i](at::ScalarType dtype, at::ScalarType beside) { return rescaled(kRescaledCases[i], dtype, beside); }});
  }
  for (size_t i = 0; i < kUpdateCases.size(); ++i) {
    const auto number = std::to_string(i);
    all.push_back({"Shortcut" + number, [i](at::ScalarType dtype, at::ScalarType) { return shortcut(kUpdateCases[i], dtype); }});
    for (const bool dense : {false, true}) {
      all.push_back({(dense ? "FoldedDense" : "Folded") + number, [i, dense](at::ScalarType dtype, at::ScalarType beside) {
                       return folded(kUpdateCases[i], dense, dtype, beside);
                     }});
    }
  }
  return all;
}

std::vector<Case> typical_cases() {
  static const RescaledCase layer{{2, 65}, 96, 288, 3, true, true};
  static const UpdateCase update{{2, 65}, 96, 288, 96, 8, {0, 96, 192}, 16, true, true, false};
  static const UpdateCase branched{{2, 65}, 96, 288, 96, 8, {96}, 0, true, false, true};
  return {{"Rescaled", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(layer, dtype, beside); }},
          {"Shortcut", [](at::ScalarType dtype, at::ScalarType) { return shortcut(update, dtype); }},
          {"ShortcutBranch", [](at::ScalarType dtype, at::ScalarType) { return shortcut(branched, dtype); }},
          {"Folded", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, false, dtype, beside); }},
          {"FoldedDense", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, true, dtype, beside); }}};
}

std::vector<Case> small_cases() {
  static const RescaledCase one{{2, 3}, 5, 6, 1, true, true}, three{{2, 3}, 5, 6, 3, false, true};
  static const UpdateCase update{{2, 3}, 4, 6, 2, 2, {0, 4}, 3, true, true, true};
  return {{"Rescaled", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(one, dtype, beside); }},
          {"RescaledGroups", [](at::ScalarType dtype, at::ScalarType beside) { return rescaled(three, dtype, beside); }},
          {"Shortcut", [](at::ScalarType dtype, at::ScalarType) { return shortcut(update, dtype); }},
          {"Folded", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, false, dtype, beside); }},
          {"FoldedDense", [](at::ScalarType dtype, at::ScalarType beside) { return folded(update, true, dtype, beside); }}};
}

}  // namespace respeft::ops::test
