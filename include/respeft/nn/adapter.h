#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <optional>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// What an adapter sees of its site in one call.
struct Base {
  const Site& site;
  at::Tensor weight;  ///< frozen; linear: the rows `[parts.size() · part_features, in]` of the parts asked for
  at::Tensor bias;    ///< frozen; may be undefined
  PartRange parts;    ///< which of the logical projections fused in the weight are asked for

  /// The bias as operators take it.
  std::optional<at::Tensor> optional_bias() const { return bias.defined() ? std::optional(bias) : std::nullopt; }
  /// The plain layer's output for `x`.
  at::Tensor compute(const at::Tensor& x) const { return site.compute(x, weight, bias); }
};

/// What a site's weight and bias become when its adapter is merged into them.
struct Fold {
  at::Tensor weight;
  at::Tensor bias;    ///< undefined when the layer has none and needs none
  bool exact = true;  ///< equal to the adapted layer up to rounding of the working dtype
};

/// Owns what is trained at one site.
class Adapter : public torch::nn::Module {
 public:
  /// The adapted layer's output for input `x [..., in]`.
  virtual at::Tensor forward(const at::Tensor& x, const Base& base, ForwardPass& pass) = 0;

  /// What the whole layer's `weight` and `bias` become. Computed in the tensors' dtype, at least float32.
  virtual Fold fold(const at::Tensor& weight, const at::Tensor& bias) const = 0;
};

}  // namespace respeft::nn
