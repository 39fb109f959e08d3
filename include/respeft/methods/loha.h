#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/targets.h>

namespace respeft {

struct LohaOptions {
  int64_t rank = 8;
  double alpha = 8.0;
  std::string targets = "linears";
  std::string blocks = "";

  Fields fields();
};

/// Low-rank Hadamard product. Source: Hyeon-Woo et al., ICLR 2022, "FedPara"; as LoHa in LyCORIS (Yeh et al., ICLR 2024) and
/// PEFT.
///
/// `y = x (W + (alpha / rank) · (W1a W1b) ⊙ (W2a W2b))ᵀ + b` with `hada_w1_a`, `hada_w2_a` `[out, r]` and `hada_w1_b`,
/// `hada_w2_b` `[r, in]`. With fused projections, each chosen one has its own four factors (`q.hada_w1_a`, …). `hada_w2_b` starts
/// at zero, the others Kaiming-uniform. Folds exactly. Saved for the backward: the input and the factors.
class Loha : public SiteMethod {
 public:
  /// Throws `std::invalid_argument` on a rank below 1.
  explicit Loha(LohaOptions options = {});

  std::string name() const override { return "loha"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& named) const override;

 private:
  LohaOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
