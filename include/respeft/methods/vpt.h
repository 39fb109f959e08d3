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
/// `prompts [P, D]` are trainable tokens in addition to the image's. Shallow: they are added at the first block and stay. Deep:
/// every block has its own, which replace those of the block before. They come after the model's own tokens; they have no
/// position embeddings, so their place in the sequence does not matter, and the head does not read them. They are initialized
/// uniformly in ±√(6 / (n + D)), where n is the number of values in a patch. Does not fold.
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
