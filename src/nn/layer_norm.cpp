#include <respeft/nn/layer_norm.h>

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <ostream>

namespace respeft::nn {

LayerNormImpl::LayerNormImpl(const torch::nn::LayerNormOptions& norm_options, const at::TensorOptions& tensor_options)
    : options(norm_options) {
  TORCH_CHECK(options.normalized_shape().size() == 1 && options.elementwise_affine(),
              "LayerNorm: a norm with a site has one normalized dimension and an affine part");
  weight = register_parameter("weight", at::ones(options.normalized_shape(), tensor_options));
  bias = register_parameter("bias", at::zeros(options.normalized_shape(), tensor_options));
}

at::Tensor LayerNormImpl::compute(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b) const {
  return at::layer_norm(x, options.normalized_shape(), w, b, options.eps());
}

void LayerNormImpl::pretty_print(std::ostream& stream) const {
  stream << "respeft::nn::LayerNorm(" << options.normalized_shape() << ", eps=" << options.eps() << ")";
}

}  // namespace respeft::nn
