#include "src/methods/lora_layers.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <cmath>
#include <stdexcept>

#include <respeft/nn/conv2d.h>

namespace respeft::methods {
namespace {

void refuse_allocation(const nn::NamedSite& named, const LowRankOptions& options) {
  if (!options.allocated) return;
  throw std::invalid_argument(
      fmt::format("lora: the ranks of '{}' cannot be allocated: it is a layer of the kind {}, and only those of linears can",
                  named.info.name, nn::to_string(named.info.kind)));
}

double scaling_of(const LowRankOptions& options) {
  return options.alpha / static_cast<double>(options.rank);
}

class ConvolutionAdapter : public nn::WeightAdapter {
 public:
  ConvolutionAdapter(const nn::WeightSite& site, const LowRankOptions& options)
      : scaling_(scaling_of(options)), dropout_(options.dropout) {
    auto down = site.weight.sizes().vec();
    down[0] = options.rank;
    lora_A_ = register_parameter("lora_A", at::empty(down, site.weight.options()));
    lora_B_ = register_parameter("lora_B", at::zeros({site.weight.size(0), options.rank, 1, 1}, site.weight.options()));
    torch::nn::init::kaiming_uniform_(lora_A_, std::sqrt(5.0));
  }

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    const auto input = dropout_ > 0.0 && is_training() ? at::dropout(x, dropout_, true) : x;
    const auto down = base.site.compute(input, lora_A_, {});
    return at::add(base.compute(x), at::conv2d(down, lora_B_), scaling_);
  }

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
    const auto update = lora_B_.to(dtype).flatten(1).mm(lora_A_.to(dtype).flatten(1)).view(weight.sizes());
    return nn::Fold{at::add(weight.to(dtype), update, scaling_).to(weight.scalar_type()), bias};
  }

 private:
  double scaling_, dropout_;
  at::Tensor lora_A_, lora_B_;
};

class EmbeddingAdapter : public nn::WeightAdapter {
 public:
  EmbeddingAdapter(const nn::WeightSite& site, const LowRankOptions& options) : scaling_(scaling_of(options)) {
    lora_A_ = register_parameter("lora_embedding_A", at::zeros({options.rank, site.weight.size(0)}, site.weight.options()));
    lora_B_ = register_parameter("lora_embedding_B", at::empty({site.weight.size(1), options.rank}, site.weight.options()));
    torch::nn::init::normal_(lora_B_);
  }

  at::Tensor forward(const at::Tensor& indices, const nn::Base& base, nn::ForwardPass&) override {
    const auto middle = base.site.compute(indices, lora_A_.t(), {});
    return at::add(base.compute(indices), at::linear(middle, lora_B_), scaling_);
  }

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
    const auto update = lora_A_.to(dtype).t().mm(lora_B_.to(dtype).t());
    return nn::Fold{at::add(weight.to(dtype), update, scaling_).to(weight.scalar_type()), bias};
  }

 private:
  double scaling_;
  at::Tensor lora_A_, lora_B_;
};

}  // namespace

std::shared_ptr<nn::Adapter> lora_convolution(const nn::NamedSite& named, const LowRankOptions& options) {
  refuse_allocation(named, options);
  const auto* convolution = dynamic_cast<const nn::Conv2dImpl*>(named.site);
  if (convolution && convolution->options.groups() != 1) {
    throw std::invalid_argument(
        fmt::format("lora: '{}' is a convolution of {} groups, and its update would mix them; leave it out of "
                    "the targets",
                    named.info.name, convolution->options.groups()));
  }
  return std::make_shared<ConvolutionAdapter>(*named.layer(), options);
}

std::shared_ptr<nn::Adapter> lora_embedding(const nn::NamedSite& named, const LowRankOptions& options) {
  refuse_allocation(named, options);
  return std::make_shared<EmbeddingAdapter>(*named.layer(), options);
}

}  // namespace respeft::methods
