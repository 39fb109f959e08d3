#pragma once

#include <respeft/nn/adapter.h>

namespace respeft::methods {

/// A trained gain and offset on a layer's output, `y ⊙ scale + shift`, at any layer with a weight. Folds exactly.
class AffineAdapter : public nn::WeightAdapter {
 public:
  enum class Start {
    Noisy,     ///< scale ~ N(1, 0.02), shift ~ N(0, 0.02), as SSF and RLRR are published
    Identity,  ///< scale 1, shift 0
  };

  /// Registers `scale [out]` (unless `with_scale` is false: then the gain is fixed at 1) and `shift [out]`.
  AffineAdapter(const nn::SiteInfo& info, const nn::WeightSite& site, Start start, bool with_scale = true);

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass& pass) override;
  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override;

  at::Tensor scale;  ///< undefined without a scale
  at::Tensor shift;

 private:
  nn::SiteKind kind_;
  int64_t part_features_;
};

}  // namespace respeft::methods
