#pragma once

#include <respeft/methods/method.h>

namespace respeft {

/// Trains every bias and the head. Source: Ben Zaken et al. 2022.
///
/// The trained bias is the frozen bias plus `shift [out]`, which starts at zero, so the base does not change. Layers without a
/// bias get no adapter. Folds exactly.
class BitFit : public SiteMethod {
 public:
  std::string name() const override { return "bitfit"; }
  Options options() const override { return {}; }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;
};

}  // namespace respeft
