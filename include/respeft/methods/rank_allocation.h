#pragma once

#include <cstdint>
#include <string>

namespace respeft {

/// How LoRA and ResLoRA spread a budget of ranks over their updates while training. Source: Zhang et al., ICLR 2023, "AdaLoRA:
/// Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning"; the smoothing of the importance and the penalty's form are
/// those of its released code.
///
/// Every update is `B diag(E) A`, so that diag(E) A stands for A in the method's equations. What training does to it:
/// - `orthogonality` · the mean over all A and B of ‖A Aᵀ − I‖_F and ‖Bᵀ B − I‖_F is added to the loss (Eq. 4).
/// - A direction i of an update is as important as s(E_i) + mean s(A_i·) + mean s(B_·i) (Eq. 7), where s(w) is the product of
///   the running means (both of 0.85) of |w ∂w| and of its deviation (Eq. 8 to 11).
/// - From the share `prune_start` of all steps to `prune_end`, the budget falls from `rank` to `target_rank` directions for
///   each update on average, cubically (Eq. 12); every `prune_every` steps, the E of those beyond the budget, the least
///   important of the whole model, become zero. They may come back until `prune_end`, where the last pruning is; then
///   what is kept stays.
///
/// `respeft train` does all this; a training loop of one's own calls the `TrainingHook` that `attach` returns.
/// Attaching throws `std::invalid_argument` where the method's targets match no linear layer.
struct RankAllocationOptions {
  int64_t target_rank = 0;
  double prune_start = 0.1;
  double prune_end = 0.7;
  int64_t prune_every = 10;
  double orthogonality = 0.5;

  template <class Visitor>
  static void fields(RankAllocationOptions& options, Visitor&& visit) {
    visit("target_rank", options.target_rank, "prune to this rank on average, by importance (AdaLoRA); 0: every rank stays");
    visit("prune_start", options.prune_start, "share of the steps after which pruning begins");
    visit("prune_end", options.prune_end, "share of the steps after which the ranks are final");
    visit("prune_every", options.prune_every, "steps between two prunings");
    visit("orthogonality", options.orthogonality, "weight in the loss of how far the factors are from orthogonal");
  }

  bool enabled() const { return target_rank != 0; }
  /// Throws `std::invalid_argument` on a target that is not below `rank`, shares that are not 0 ≤ start ≤ end ≤ 1, and the like.
  void check(const std::string& method, int64_t rank) const;
};

}  // namespace respeft
