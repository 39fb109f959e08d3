#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

namespace respeft {

struct RlrrOptions {
  bool residual = true;
  std::string scales = "both";
  std::string init = "kaiming";
  std::string targets = "all";
  std::string blocks = "";

  Fields fields();
};

/// Residual low-rank rescaling. Source: Dong et al., CVPR 2024, "Low-Rank Rescaled Vision Transformer Fine-Tuning".
///
/// Linear layers (Eq. 16, 19): `y = x (W ⊙ (1 + scale_out scale_inᵀ))ᵀ + b + shift`, with `scale_in [in]` (`[parts, in]` if
/// projections are fused), `scale_out [out]`, `shift [out]`. Norms and the patch projection: `y ⊙ scale + shift` on their output
/// y, `scale, shift [out]`. Folds exactly (Eq. 20); a linear layer without a bias has one after merging.
class Rlrr : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on an invalid option.
  explicit Rlrr(RlrrOptions options = {});

  std::string name() const override { return "rlrr"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override { targets_.check(sites); }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

 private:
  RlrrOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
