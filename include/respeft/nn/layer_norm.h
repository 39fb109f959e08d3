#pragma once

#include <torch/nn/options/normalization.h>
#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// `torch::nn::LayerNorm` over the last dimension, with a site: the same options, the same state-dict keys.
class LayerNormImpl : public torch::nn::Module, public Site {
 public:
  /// `options.normalized_shape()` must have one dimension, and the norm an affine part.
  explicit LayerNormImpl(const torch::nn::LayerNormOptions& options);

  /// `x [..., features]` -> the same shape.
  at::Tensor forward(const at::Tensor& x);
  at::Tensor forward(const at::Tensor& x, ForwardPass& pass);

  SiteKind kind() const override { return SiteKind::Norm; }
  int64_t in_features() const override { return options.normalized_shape().front(); }
  int64_t out_features() const override { return options.normalized_shape().front(); }
  at::Tensor compute(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const override;
  void pretty_print(std::ostream& stream) const override;

  torch::nn::LayerNormOptions options;
  at::Tensor weight;  ///< `[features]`
  at::Tensor bias;    ///< `[features]`

 private:
  torch::nn::Module& module() override { return *this; }
  at::Tensor& weight_slot() override { return weight; }
  at::Tensor& bias_slot() override { return bias; }
};
TORCH_MODULE(LayerNorm);

}  // namespace respeft::nn
