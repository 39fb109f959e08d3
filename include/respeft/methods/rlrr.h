#pragma once

#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

namespace respeft {

struct RlrrOptions {
  bool residual = true;
  std::string scales = "both";
  std::string init = "kaiming";
  std::string targets = "all";
  std::string blocks = "";

  template <class Visitor>
  static void fields(RlrrOptions& options, Visitor&& visit) {
    visit("residual", options.residual, "rescale around the frozen weight, W ⊙ (1 + s_out s_inᵀ), or replace its scale, W ⊙ s_out s_inᵀ");
    visit("scales", options.scales, "which scales are trained: in, out or both; the other is all ones");
    visit("init", options.init, "kaiming (the published start) or identity (the adapted model starts equal to the base)");
    visit("targets", options.targets, "layers to adapt: q, k, v, o, fc1, fc2, norms, patch, linears or all");
    visit("blocks", options.blocks, "blocks to adapt, such as 0-5,11; empty: everywhere");
  }
};

/// Residual low-rank rescaling. Source: Dong et al., CVPR 2024, "Low-Rank Rescaled Vision Transformer Fine-Tuning".
///
/// Per linear (Eq. 16, 19): `y = x (W ⊙ (1 + scale_out scale_inᵀ))ᵀ + b + shift`, with `scale_in [in]` (`[parts, in]` where
/// projections are fused), `scale_out [out]`, `shift [out]`. Norms and the patch projection get a gain and an offset on their
/// output. Folds exactly (Eq. 20); a linear without a bias has one after merging.
class Rlrr : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on an option's value that is not one of those listed.
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
