#pragma once

#include <torch/nn/options/linear.h>
#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// `torch::nn::Linear` with a site: the same options, the same state-dict keys, the same initialization.
class LinearImpl : public WeightSite {
 public:
  LinearImpl(int64_t in_features, int64_t out_features) : LinearImpl(torch::nn::LinearOptions(in_features, out_features)) {}
  /// `parts` names logical projections of equal height that are fused in the weight's rows, e.g. `{"q", "k", "v"}`;
  /// `tensor_options` give the dtype and device of weight and bias.
  explicit LinearImpl(const torch::nn::LinearOptions& options, std::vector<std::string> parts = {},
                      const at::TensorOptions& tensor_options = {});

  /// `x [..., in_features]` -> `[..., out_features]`.
  at::Tensor forward(const at::Tensor& x) { return run(x); }

  SiteKind kind() const override { return SiteKind::Linear; }
  int64_t in_features() const override { return options.in_features(); }
  int64_t out_features() const override { return options.out_features(); }
  const std::vector<std::string>& part_names() const override { return part_names_; }
  at::Tensor compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const override;
  void pretty_print(std::ostream& stream) const override;

  torch::nn::LinearOptions options;

 private:
  std::vector<std::string> part_names_;
};
TORCH_MODULE(Linear);

}  // namespace respeft::nn
