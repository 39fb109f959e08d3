#pragma once

#include <torch/nn/options/conv.h>
#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// `torch::nn::Conv2d` with a site: the same options, the same state-dict keys, the same initialization.
class Conv2dImpl : public WeightSite {
 public:
  /// Throws `c10::Error` unless the padding mode is zeros, and for a transposed convolution.
  explicit Conv2dImpl(const torch::nn::Conv2dOptions& options, const at::TensorOptions& tensor_options = {});

  /// `x [B, in, H, W]` -> `[B, out, H', W']`.
  at::Tensor forward(const at::Tensor& x) { return run(x); }

  SiteKind kind() const override { return SiteKind::Convolution; }
  int64_t in_features() const override { return options.in_channels(); }
  int64_t out_features() const override { return options.out_channels(); }
  int64_t output_dim() const override { return -3; }
  at::Tensor compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const override;
  void pretty_print(std::ostream& stream) const override;

  torch::nn::Conv2dOptions options;
};
TORCH_MODULE(Conv2d);

}  // namespace respeft::nn
