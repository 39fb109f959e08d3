#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/rank_allocation.h>
#include <respeft/methods/targets.h>

namespace respeft {
struct LoraOptions {
  int64_t rank = 8;
  double alpha = 8.0;
  double dropout = 0.0;
  std::string targets = "linears";
  std::string blocks = "";
  RankAllocationOptions allocation = {};

  Fields fields();
};

/// Low-rank adaptation. Source: Hu et al. 2021.
///
/// `y = x Wᵀ + b + (alpha / rank) · (dropout(x) Aᵀ) Bᵀ` with `lora_A [r, in]`, `lora_B [out, r]`. With fused projections, each
/// chosen one has its own pair (`q.lora_A`, …). A starts Kaiming-uniform, B at zero. With a `target_rank` the ranks are allocated
/// by importance (AdaLoRA; see `RankAllocationOptions`), and diag(`lora_E`) A replaces A. Folds exactly.
class Lora : public Method {
 public:
  /// Throws `std::invalid_argument` on a rank below 1, a dropout outside [0, 1), or an invalid rank allocation.
  explicit Lora(LoraOptions options = {});

  std::string name() const override { return "lora"; }
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const override;

 private:
  LoraOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
