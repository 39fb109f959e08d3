#pragma once

#include <respeft/methods/method.h>

namespace respeft {

/// Trains every bias and the head. Source: Ben Zaken et al. 2022.
///
/// A bias is trained as the frozen one plus `shift [out]`, which starts at zero: the same steps, with the base untouched.
/// Layers without a bias stay plain. Folds exactly.
class BitFit : public SiteMethod {
 public:
  std::string name() const override { return "bitfit"; }
  Options options() const override { return {}; }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;
};

}  // namespace respeft
