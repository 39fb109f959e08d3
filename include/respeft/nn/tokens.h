#pragma once

#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// A site for the tokens that enter a block: for adapters that add tokens. Without an adapter, returns the tokens unchanged. It
/// has no tensors of its own.
class TokensImpl : public Site {
 public:
  /// `features` is a token's width; `source_features` is the number of values that a token is computed from (for a patch:
  /// channels · height · width), used for initialization.
  TokensImpl(int64_t features, int64_t source_features) : features_(features), source_features_(source_features) {}

  /// `tokens [B, T, features]`, of which the first `own` are the model's -> `[B, T', features]`, with the adapter's tokens last.
  at::Tensor forward(const at::Tensor& tokens, int64_t own, ForwardPass& pass);

  SiteKind kind() const override { return SiteKind::Tokens; }
  int64_t in_features() const override { return source_features_; }
  int64_t out_features() const override { return features_; }

 protected:
  bool accepts(const Adapter& adapter) const override;

 private:
  int64_t features_, source_features_;
};
TORCH_MODULE(Tokens);

}  // namespace respeft::nn
