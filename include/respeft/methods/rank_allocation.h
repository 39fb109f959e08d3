#pragma once

#include <cstdint>
#include <string>

#include <respeft/core/fields.h>

namespace respeft {

/// Allocation of a rank budget among the updates of LoRA and ResLoRA during training. Source: Zhang et al., ICLR 2023,
/// "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning"; the smoothing of the importance and the form of
/// the regularization are those of its released code.
///
/// Every update is `B diag(E) A`, so diag(E) A replaces A in the method's equations. During training:
/// - `orthogonality` · the mean over all A and B of ‖A Aᵀ − I‖_F and ‖Bᵀ B − I‖_F is added to the loss (Eq. 4).
/// - The importance of direction i of an update is s(E_i) + mean s(A_i·) + mean s(B_·i) (Eq. 7). s(w) is the product of the
///   running means of |w ∂w| and of its deviation, both with decay 0.85 (Eq. 8 to 11).
/// - Between the shares `prune_start` and `prune_end` of all steps, the budget falls cubically from `rank` to `target_rank`
///   directions per update, averaged over the model (Eq. 12). Every `prune_every` steps, the E of the least important directions
///   of the whole model, those beyond the budget, are set to zero. Pruned directions may return until the last pruning at
///   `prune_end`; after that the choice is fixed.
///
/// `respeft train` does all this; a custom training loop calls the `Attachment` that `attach` returns. Attaching throws
/// `std::invalid_argument` if the method's targets match no linear layer.
struct RankAllocationOptions {
  int64_t target_rank = 0;
  double prune_start = 0.1;
  double prune_end = 0.7;
  int64_t prune_every = 10;
  double orthogonality = 0.5;

  Fields fields();

  bool enabled() const { return target_rank != 0; }
  /// Throws `std::invalid_argument` on a target that is not below `rank`, or a start of pruning after its end.
  void check(const std::string& method, int64_t rank) const;
};

}  // namespace respeft
