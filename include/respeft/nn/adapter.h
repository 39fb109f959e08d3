#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <optional>
#include <string>

#include <respeft/core/named_tensors.h>
#include <respeft/nn/site.h>

namespace respeft::nn {

/// An adapter's view of its layer in one call.
struct Base {
  const WeightSite& site;
  at::Tensor weight;  ///< frozen; linear: the rows `[parts.size() · part_features, in]` of the requested parts
  at::Tensor bias;    ///< frozen; may be undefined
  PartRange parts;    ///< the requested logical projections of those fused in the weight

  /// The bias as operators take it.
  std::optional<at::Tensor> optional_bias() const { return bias.defined() ? std::optional(bias) : std::nullopt; }
  /// The plain layer's output for `x`.
  at::Tensor compute(const at::Tensor& x) const { return site.compute(x, weight, bias); }
};

/// A layer's weight and bias after merging its adapter.
struct Fold {
  at::Tensor weight;
  at::Tensor bias;    ///< undefined when the layer has none and needs none
  bool exact = true;  ///< equal to the adapted layer up to rounding of the working dtype
};

/// A forward function in TorchScript, with the tensors that it reads as attributes of `self`.
struct Script {
  std::string source;  ///< `def forward(self, …): …`
  TensorMap tensors;
};

/// Owns the trainable parameters of one site. Every tensor that it uses must be a registered parameter or buffer, so that
/// `.to(device)` moves it and checkpoints contain it.
class Adapter : public torch::nn::Module {
 public:
  /// Weight and bias of the whole layer after merging, computed in the tensors' dtype or float32, whichever is more precise.
  /// `std::nullopt` if the adapter does not fold.
  virtual std::optional<Fold> fold(const at::Tensor& /*weight*/, const at::Tensor& /*bias*/) const { return std::nullopt; }
  /// The adapter in TorchScript, for exporting a model that cannot be merged. `std::nullopt` if this is not supported.
  virtual std::optional<Script> script() const { return std::nullopt; }
};

/// An adapter of a layer with a weight.
class WeightAdapter : public Adapter {
 public:
  /// The adapted layer's output for its input `x`.
  virtual at::Tensor forward(const at::Tensor& x, const Base& base, ForwardPass& pass) = 0;
};

/// An adapter of a residual branch. Its script is `forward(self, input, output)`.
class BranchAdapter : public Adapter {
 public:
  /// The adapted branch's contribution to the residual stream. `input [B, T, D]` is the stream before the branch's norm;
  /// `output [B, T, D]` is the plain branch's contribution.
  virtual at::Tensor forward(const at::Tensor& input, const at::Tensor& output, ForwardPass& pass) = 0;
};

/// An adapter that adds tokens to those that enter a block. Its script is `forward(self, tokens, own)`.
class TokensAdapter : public Adapter {
 public:
  /// Returns `tokens [B, T, D]`, whose first `own` are the model's, with the adapter's tokens after them. Tokens that an
  /// earlier block added may be kept or replaced. The model removes all added tokens after the last block.
  virtual at::Tensor forward(const at::Tensor& tokens, int64_t own, ForwardPass& pass) = 0;
};

}  // namespace respeft::nn
