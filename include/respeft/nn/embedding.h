#pragma once

#include <torch/nn/options/embedding.h>
#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// `torch::nn::Embedding` with a site: the same state-dict key, the same initialization. It has no bias.
class EmbeddingImpl : public WeightSite {
 public:
  /// Throws `c10::Error` for options that change the table during lookup or the form of its gradient (`max_norm`,
  /// `scale_grad_by_freq`, `sparse`).
  explicit EmbeddingImpl(const torch::nn::EmbeddingOptions& options, const at::TensorOptions& tensor_options = {});

  /// Indices of any shape, int64 -> `[..., embedding_dim]`.
  at::Tensor forward(const at::Tensor& indices) { return run(indices); }

  SiteKind kind() const override { return SiteKind::Embedding; }
  int64_t in_features() const override { return options.num_embeddings(); }
  int64_t out_features() const override { return options.embedding_dim(); }
  at::Tensor compute(const at::Tensor& indices, const at::Tensor& w, const at::Tensor& b) const override;
  void pretty_print(std::ostream& stream) const override;

  torch::nn::EmbeddingOptions options;
};
TORCH_MODULE(Embedding);

}  // namespace respeft::nn
