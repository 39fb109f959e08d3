#pragma once

#include <respeft/methods/method.h>

namespace respeft {

/// Linear probe: trains only the head.
class LinearProbe : public SiteMethod {
 public:
  std::string name() const override { return "linear"; }
  Options options() const override { return {}; }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite&) const override { return nullptr; }
};

/// Full fine-tuning: trains every parameter of the base.
class FullFineTuning : public SiteMethod {
 public:
  std::string name() const override { return "full"; }
  Options options() const override { return {}; }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite&) const override { return nullptr; }
  bool trains_base(const std::string&) const override { return true; }
};

}  // namespace respeft
