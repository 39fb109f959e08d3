#pragma once

#include <cstdint>

namespace respeft::ops {

/// The orders in which a linear layer with a low-rank update can be computed.
enum class UpdateOrder {
  Thin,         ///< `shortcut_linear`: thin products with the factors, beside the base's product
  Folded,       ///< `folded_linear`: folds the update into the weight first; the factors' gradients by thin products
  FoldedDense,  ///< `folded_linear` with `dense_gradient`: the factors' gradients from gradᵀ · input
};

/// `"thin"`, `"folded"` or `"folded-dense"`.
const char* to_string(UpdateOrder order);

/// The sizes of a linear layer with a low-rank update.
struct UpdateShape {
  int64_t tokens = 0;  ///< N, the rows of the input
  int64_t in = 0, out = 0;
  int64_t rank = 0;    ///< of one group
  int64_t groups = 1;  ///< logical projections with an update
  int64_t height = 0;  ///< output rows of a group; 0: out / groups
};

/// Estimated cost of an order beyond the plain layer, in microseconds on one core of a current CPU: the FLOPs of every extra
/// product at the speed of its rank, plus its memory traffic. Meant for comparing orders only.
///
/// @param training  true: forward and backward; false: the forward alone, where `Folded` and `FoldedDense` are the same
double update_cost(UpdateOrder order, const UpdateShape& shape, bool training);

/// The order with the lowest estimated cost.
UpdateOrder choose_order(const UpdateShape& shape, bool training);

}  // namespace respeft::ops
