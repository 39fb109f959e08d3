#pragma once

#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// A site for a residual branch of a block: for adapters after the branch or parallel to it. Without an adapter, returns the
/// branch's output unchanged. It has no tensors of its own.
class BranchImpl : public Site {
 public:
  /// `features` is the width of the residual stream.
  explicit BranchImpl(int64_t features) : features_(features) {}

  /// The branch's contribution `output [B, T, features]`, changed by the adapter; `input` is the residual stream that enters
  /// the branch.
  at::Tensor forward(const at::Tensor& input, const at::Tensor& output, ForwardPass& pass);

  SiteKind kind() const override { return SiteKind::Branch; }
  int64_t in_features() const override { return features_; }
  int64_t out_features() const override { return features_; }

 protected:
  bool accepts(const Adapter& adapter) const override;

 private:
  int64_t features_;
};
TORCH_MODULE(Branch);

}  // namespace respeft::nn
