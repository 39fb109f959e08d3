#pragma once

#include <respeft/nn/adapter.h>

#include <functional>
#include <optional>
#include <vector>

#include "src/methods/projections.h"

namespace respeft::methods {

/// The factors of an update of a run of rows.
using Factors = std::vector<at::Tensor>;
/// From the factors to the update `[rows, in]`, in differentiable operations.
using UpdateOf = std::function<at::Tensor(const Factors& factors)>;

/// `x (W + Δ)ᵀ + b` with Δ made from `factors`, which alone (and x and b) get gradients. Kept for the backward: x, W and the
/// factors; Δ is made again. Can be differentiated twice. Under autocast W + Δ is rounded for the product, after the sum is made.
at::Tensor updated_linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                          const Factors& factors, const UpdateOf& update);

/// A run of rows whose update is made from a few factors: LoHa's, LoKr's.
struct FactoredUpdate : RowUpdate {
  using RowUpdate::RowUpdate;
  virtual Factors factors() const = 0;
  /// `[rows, in]` from tensors that stand for the factors.
  virtual at::Tensor update(const Factors& factors) const = 0;
};

/// A linear whose weight is updated by `FactoredUpdate`s. Folds exactly.
class FactoredAdapter : public ProjectionAdapter<FactoredUpdate> {
 public:
  using ProjectionAdapter::ProjectionAdapter;

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass& pass) override;
  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override;
};

}  // namespace respeft::methods
