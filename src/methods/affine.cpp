#include "src/methods/affine.h"

#include <ATen/ATen.h>

namespace respeft::methods {

AffineAdapter::AffineAdapter(const nn::SiteInfo& info, const nn::WeightSite& site, Start start, bool with_scale)
    : kind_(info.kind), part_features_(info.part_features()) {
  const auto options = site.weight.options();
  if (with_scale) scale = register_parameter("scale", at::ones({info.out_features}, options));
  shift = register_parameter("shift", at::zeros({info.out_features}, options));
  if (start == Start::Identity) return;
  constexpr double noise = 0.02;
  const at::NoGradGuard no_grad;
  if (with_scale) scale.normal_(1.0, noise);
  shift.normal_(0.0, noise);
}

at::Tensor AffineAdapter::forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) {
  const auto rows = [&](const at::Tensor& vector) {
    return vector.narrow(0, base.parts.begin * part_features_, base.parts.size() * part_features_);
  };
  const auto offset = rows(shift);
  const bool has_bias = kind_ != nn::SiteKind::Embedding;
  if (!scale.defined() && has_bias) return base.site.compute(x, base.weight, base.bias.defined() ? base.bias + offset : offset);
  const auto gain = scale.defined() ? rows(scale) : at::ones_like(offset);
  // The gain goes into the norm's own, so that the norm's output is not kept for the backward.
  if (kind_ == nn::SiteKind::Norm) return base.site.compute(x, base.weight * gain, at::addcmul(offset, base.bias, gain));
  const auto output = base.compute(x);
  std::vector<int64_t> along(static_cast<size_t>(-base.site.output_dim()), 1);  // e.g. [C, 1, 1] of a convolution
  along[0] = -1;
  return at::addcmul(offset.view(along), output, gain.view(along));
}

std::optional<nn::Fold> AffineAdapter::fold(const at::Tensor& weight, const at::Tensor& bias) const {
  const auto gain = scale.defined() ? scale : at::ones_like(shift);
  if (kind_ == nn::SiteKind::Embedding)
    return nn::Fold{at::addcmul(shift, weight, gain), bias};  // an output is a row of the table
  std::vector<int64_t> by_row(static_cast<size_t>(weight.dim()), 1);
  by_row[0] = -1;
  return nn::Fold{weight * gain.view(by_row), bias.defined() ? at::addcmul(shift, bias, gain) : shift};
}

}  // namespace respeft::methods
