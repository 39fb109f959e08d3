#pragma once

#include <torch/nn/options/normalization.h>
#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// `torch::nn::LayerNorm` over the last dimension, with a site: the same options, the same state-dict keys.
class LayerNormImpl : public WeightSite {
 public:
  /// `options.normalized_shape()` must have one dimension, and the norm an affine part.
  explicit LayerNormImpl(const torch::nn::LayerNormOptions& options, const at::TensorOptions& tensor_options = {});

  /// `x [..., features]` -> the same shape.
  at::Tensor forward(const at::Tensor& x) { return run(x); }

  SiteKind kind() const override { return SiteKind::Norm; }
  int64_t in_features() const override { return options.normalized_shape().front(); }
  int64_t out_features() const override { return options.normalized_shape().front(); }
  at::Tensor compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const override;
  void pretty_print(std::ostream& stream) const override;

  torch::nn::LayerNormOptions options;
};
TORCH_MODULE(LayerNorm);

}  // namespace respeft::nn
