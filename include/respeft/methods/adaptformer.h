#pragma once

#include <cstdint>
#include <set>
#include <string>

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>

namespace respeft {

struct AdaptFormerOptions {
  int64_t bottleneck = 64;
  double scale = 0.1;
  double dropout = 0.1;
  std::string blocks = "";

  Fields fields();
};

/// A bottleneck parallel to the MLP of every block. Source: Chen et al., NeurIPS 2022, "AdaptFormer"; initialization and
/// dropout are those of its released code.
///
/// With x the residual stream that enters the MLP's branch, the branch adds `MLP(norm(x)) + scale · up(drop(relu(down(x))))`,
/// with `down.weight [d, D]`, `down.bias [d]`, `up.weight [D, d]`, `up.bias [D]`. `down.weight` starts Kaiming-uniform, the
/// others at zero, so that the adapted model initially equals the base. Does not fold.
class AdaptFormer : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on a bottleneck below 1 or a dropout outside [0, 1).
  explicit AdaptFormer(AdaptFormerOptions options = {});

  std::string name() const override { return "adaptformer"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

 private:
  AdaptFormerOptions options_;
  std::set<int64_t> blocks_;
};

}  // namespace respeft
