#include <respeft/ops/shortcut_cost.h>

#include <array>
#include <stdexcept>

namespace respeft::ops {
namespace {

// One core with AVX2 or AVX-512, float32.
constexpr double kFlopsPerMicrosecond = 50e3;
constexpr double kBytesPerMicrosecond = 8e3;
constexpr double kFloat = 4.0;
/// A product of rank r runs at r / (r + kHalfSpeedRank) of the full speed, because it does few FLOPs per operand that it reads.
constexpr double kHalfSpeedRank = 12.0;

/// Time of a product of m × n × k multiply-adds whose smallest side is `side`.
double product(double m, double n, double k, double side) {
  return 2.0 * m * n * k / (kFlopsPerMicrosecond * side / (side + kHalfSpeedRank));
}

}  // namespace

const char* to_string(UpdateOrder order) {
  switch (order) {
    case UpdateOrder::Thin:
      return "thin";
    case UpdateOrder::Folded:
      return "folded";
    case UpdateOrder::FoldedDense:
      return "folded-dense";
  }
  throw std::logic_error("unknown order of an update");
}

double update_cost(UpdateOrder order, const UpdateShape& shape, bool training) {
  const auto tokens = static_cast<double>(shape.tokens), in = static_cast<double>(shape.in), out = static_cast<double>(shape.out);
  const auto groups = static_cast<double>(shape.groups), rank = static_cast<double>(shape.rank);
  const double height = shape.height > 0 ? static_cast<double>(shape.height) : out / groups;
  const double down = product(tokens, in, groups * rank, groups * rank);  // x downᵀ and similar
  const double up = groups * product(tokens, height, rank, rank);         // middle upᵀ and similar
  const double update_passes =
      2.0 * tokens * groups * height * kFloat / kBytesPerMicrosecond;             // reads and writes the output again
  const double input_passes = 2.0 * tokens * in * kFloat / kBytesPerMicrosecond;  // likewise for grad_input
  if (order == UpdateOrder::Thin) return down + up + update_passes + (training ? 2.0 * down + 2.0 * up + input_passes : 0.0);
  const double fold = groups * product(height, in, rank, rank) + 3.0 * out * in * kFloat / kBytesPerMicrosecond;
  if (!training) return fold;
  if (order == UpdateOrder::Folded) return 2.0 * fold + 2.0 * down + 2.0 * up;
  return 2.0 * fold + product(tokens, in, out, tokens) + 2.0 * groups * product(height, in, rank, rank);
}

UpdateOrder choose_order(const UpdateShape& shape, bool training) {
  auto best = UpdateOrder::Thin;
  for (const auto order : {UpdateOrder::Folded, UpdateOrder::FoldedDense}) {
    if (update_cost(order, shape, training) < update_cost(best, shape, training)) best = order;
  }
  return best;
}

}  // namespace respeft::ops
