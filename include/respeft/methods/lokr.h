#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

#include <utility>

namespace respeft {

struct LokrOptions {
  int64_t rank = 8;
  double alpha = 8.0;
  int64_t factor = -1;
  bool decompose_both = false;
  std::string targets = "linears";
  std::string blocks = "";

  Fields fields();
};

/// Low-rank Kronecker product. Source: Yeh et al., ICLR 2024, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning
/// to Model Evaluation"; shapes and initialization as in PEFT.
///
/// `y = x (W + (alpha / rank) · W1 ⊗ W2)ᵀ + b` with `lokr_w1 [out₁, in₁]` and `lokr_w2 [out₂, in₂]`, out₁ out₂ = out and
/// in₁ in₂ = in. If r < max(out₂, in₂) / 2, W2 is the product `lokr_w2_a [out₂, r]` · `lokr_w2_b [r, in₂]`; W1 likewise with
/// `decompose_both`. With fused projections, each chosen one has its own factors (`q.lokr_w1`, …). W1 (or `lokr_w1_a`) starts at
/// zero, the others Kaiming-uniform. Folds exactly. Saved for the backward: the input and the factors.
class Lokr : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on a rank below 1 or a factor that is neither -1 nor at least 1.
  explicit Lokr(LokrOptions options = {});

  std::string name() const override { return "lokr"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override { targets_.check(sites); }
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

  /// `size` as a product (m, n): m = `factor` if that divides it, otherwise the largest divisor that is at most √size and,
  /// unless `factor` is -1, at most `factor`.
  static std::pair<int64_t, int64_t> factorize(int64_t size, int64_t factor);

 private:
  LokrOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
