#pragma once

#include <cstdint>

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>

namespace respeft {

struct VptOptions {
  int64_t prompts = 10;
  double dropout = 0.0;

  Fields fields();
};

/// Visual prompt tuning. Source: Jia et al., ECCV 2022; initialization is that of its released code.
///
/// `prompts [P, D]` are learned tokens beside the image's. Shallow: they enter with the first block and stay. Deep: every block has
/// its own, which take the place of those of the block before. They stand behind the model's own tokens, which computes the same as
/// anywhere else, as they have no positions; the head does not read them. They start uniform in ±√(6 / (n + D)), n numbers in a
/// patch. Does not fold.
class Vpt : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on fewer than 1 prompt or a dropout outside [0, 1).
  explicit Vpt(bool deep = true, VptOptions options = {});

  /// `vpt-deep` or `vpt-shallow`.
  std::string name() const override { return deep_ ? "vpt-deep" : "vpt-shallow"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

 private:
  bool deep_;
  VptOptions options_;
};

}  // namespace respeft
