#pragma once

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

  template <class Visitor>
  static void fields(LoraOptions& options, Visitor&& visit) {
    visit("rank", options.rank, "rank r of every update");
    visit("alpha", options.alpha, "the update is multiplied by alpha / rank");
    visit("dropout", options.dropout, "probability of dropping an element of the update's input while training");
    visit("targets", options.targets, "linears to adapt: q, k, v, o, fc1, fc2 or linears; qkv adapts the fused weight as one");
    visit("blocks", options.blocks, "blocks to adapt, such as 0-5,11; empty: everywhere");
    RankAllocationOptions::fields(options.allocation, visit);
  }
};

/// Low-rank adaptation. Source: Hu et al. 2021.
///
/// `y = x Wᵀ + b + (alpha / rank) · (dropout(x) Aᵀ) Bᵀ` with `lora_A [r, in]`, `lora_B [out, r]`; one pair per chosen
/// projection where several are fused (`q.lora_A`, …). A starts Kaiming-uniform, B at zero. With a `target_rank` the ranks are
/// allocated by importance (AdaLoRA; see `RankAllocationOptions`), and diag(`lora_E`) A stands for A. Folds exactly.
class Lora : public Method {
 public:
  /// Throws `std::invalid_argument` on a rank below 1, a dropout outside [0, 1), or ranks that cannot be allocated so.
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
