#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

namespace respeft {

struct SsfOptions {
  std::string targets = "all";
  std::string blocks = "";

  Fields fields();
};

/// Scaling and shifting features: `y ⊙ scale + shift` after every linear layer, norm and patch projection, `scale, shift [out]`.
/// Source: Lian et al., NeurIPS 2022. Folds exactly; a linear layer without a bias has one after merging.
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
