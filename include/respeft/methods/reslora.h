#pragma once

#include <respeft/core/fields.h>
#include <respeft/methods/method.h>
#include <respeft/methods/rank_allocation.h>
#include <respeft/methods/targets.h>

namespace respeft {
struct ResLoraOptions {
  int64_t rank = 8;
  double alpha = 8.0;
  double dropout = 0.0;
  int64_t pre_num = -1;
  std::string targets = "linears";
  std::string blocks = "";
  bool shared_init = false;
  RankAllocationOptions allocation = {};

  Fields fields();
};

/// The part of earlier layers that a layer reads.
enum class Shortcut {
  Input,   ///< the input of the layer before (Eq. 2)
  Block,   ///< the updates of earlier layers, applied to its own input (Eq. 3)
  Middle,  ///< the down-projected inputs of earlier layers (Eq. 4)
};

/// LoRA with shortcuts between successive blocks. Source: Shi et al., ACL Findings 2024, "ResLoRA: Identity Residual
/// Mapping in Low-Rank Adaption".
///
/// A chain consists of the adapted linear layers with one role (all qkv, all fc1, …) in consecutive blocks. A skipped block or a
/// different shape starts a new chain; a layer outside the blocks is a chain by itself. With n counted along a chain,
/// m = min(pre_num, n) and s = alpha / rank:
///
///     input:   y_n = x_n Wᵀ + b + s · ((x_n + x_{n-1}) A_nᵀ) B_nᵀ,  x_{-1} = x_0
///     block:   y_n = x_n Wᵀ + b + s · Σ_{k≤m} (x_n A_{n-k}ᵀ) B_{n-k}ᵀ
///     middle:  y_n = x_n Wᵀ + b + s · (Σ_{k≤m} x_{n-k} A_{n-k}ᵀ) B_nᵀ
///
/// Gradients flow through every shortcut. The state of a chain belongs to one forward pass, so all layers of a pass must be
/// called with the same `nn::ForwardPass`, in the model's order. Parameters are LoRA's, with LoRA's names. With a `target_rank`
/// the ranks are allocated by importance (see `RankAllocationOptions`): diag(E_n) A_n replaces A_n, so pruned directions
/// contribute nothing, neither to their own layer nor to later ones. The block shortcut folds exactly; the others read inputs
/// that a plain layer does not receive, and fold approximately.
class ResLora : public Method {
 public:
  /// Throws `std::invalid_argument` on a rank below 1, a dropout outside [0, 1), a `pre_num` below -1 (or, for the input
  /// shortcut, other than -1 and 1), or an invalid rank allocation.
  explicit ResLora(Shortcut shortcut = Shortcut::Block, ResLoraOptions options = {});

  /// `reslora-is`, `reslora-bs` or `reslora-ms`.
  std::string name() const override;
  Options options() const override;
  void check(const std::vector<nn::NamedSite>& sites) const override;
  std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const override;

 private:
  Shortcut shortcut_;
  ResLoraOptions options_;
  methods::Targets targets_;
};

}  // namespace respeft
