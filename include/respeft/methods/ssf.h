#pragma once

#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

namespace respeft {

struct SsfOptions {
  std::string targets = "all";
  std::string blocks = "";

  template <class Visitor>
  static void fields(SsfOptions& options, Visitor&& visit) {
    visit("targets", options.targets, "layers to adapt: qkv, o, fc1, fc2, norms, patch, linears or all");
    visit("blocks", options.blocks, "blocks to adapt, such as 0-5,11; empty: everywhere");
  }
};

/// Scaling and shifting features: `y ⊙ scale + shift` after every linear, norm and patch projection, `scale, shift [out]`.
/// Source: Lian et al., NeurIPS 2022. Folds exactly; a linear without a bias has one after merging.
class Ssf : public SiteMethod {
 public:
  explicit Ssf(SsfOptions options = {});

  std::string name() const override { return "ssf"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

 private:
  SsfOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
