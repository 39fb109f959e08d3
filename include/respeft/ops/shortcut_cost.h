#pragma once

#include <cstdint>

namespace respeft::ops {

/// The orders in which a linear with a low-rank update can be contracted.
enum class UpdateOrder {
  Thin,         ///< `shortcut_linear`: thin products with the factors beside the base's product
  Folded,       ///< `folded_linear`: the update folded into the weight first; the factors' gradients by thin products
  FoldedDense,  ///< `folded_linear` with `dense_gradient`: those gradients through gradᵀ · input
};

/// `"thin"`, `"folded"` or `"folded-dense"`.
const char* to_string(UpdateOrder order);

/// The sizes of a linear with a low-rank update.
struct UpdateShape {
  int64_t tokens = 0;  ///< N, the rows of the input
  int64_t in = 0, out = 0;
  int64_t rank = 0;    ///< of one group
  int64_t groups = 1;  ///< logical projections with an update
  int64_t height = 0;  ///< output rows of a group; 0: out / groups
};

/// What an order costs beyond the plain layer, in microseconds of one core of a present-day CPU: the work of every extra
/// product at the speed that its rank allows, plus what is read and written besides. Only the comparison of orders is meant.
///
/// @param training  forward and backward; otherwise the forward alone, where `Folded` and `FoldedDense` are the same
double update_cost(UpdateOrder order, const UpdateShape& shape, bool training);

/// The cheapest order.
UpdateOrder choose_order(const UpdateShape& shape, bool training);

}  // namespace respeft::ops
