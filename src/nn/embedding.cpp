#include <respeft/nn/embedding.h>

#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <torch/nn/init.h>

#include <ostream>

namespace respeft::nn {

EmbeddingImpl::EmbeddingImpl(const torch::nn::EmbeddingOptions& embedding_options, const at::TensorOptions& tensor_options)
    : options(embedding_options) {
  TORCH_CHECK(!options.max_norm() && !options.scale_grad_by_freq() && !options.sparse() && !options._weight().defined(),
              "Embedding: max_norm, scale_grad_by_freq, sparse and a given weight are not for an embedding with a site");
  weight = register_parameter("weight", at::empty({options.num_embeddings(), options.embedding_dim()}, tensor_options));
  torch::nn::init::normal_(weight);
  if (options.padding_idx()) {
    const at::NoGradGuard no_grad;
    weight[*options.padding_idx()].zero_();
  }
}

at::Tensor EmbeddingImpl::compute(const at::Tensor& indices, const at::Tensor& w, const at::Tensor&) const {
  return at::embedding(w, indices, options.padding_idx().value_or(-1));
}

void EmbeddingImpl::pretty_print(std::ostream& stream) const {
  stream << "respeft::nn::Embedding(num_embeddings=" << options.num_embeddings() << ", embedding_dim=" << options.embedding_dim()
         << ")";
}

}  // namespace respeft::nn
