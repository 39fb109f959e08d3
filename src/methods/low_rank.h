#pragma once

#include <respeft/core/options.h>
#include <respeft/methods/rank_allocation.h>
#include <respeft/nn/adapter.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/methods/projections.h"

namespace respeft::methods {

/// The update `B A` of a run of the weight's rows; where ranks are allocated it is `B diag(E) A`.
struct LowRankPair : RowUpdate {
  /// B A is zero at the start. Alone, A starts Kaiming-uniform and B at zero; with E, which is then the one at zero, A and B
  /// start as N(0, 0.02), as AdaLoRA is published.
  LowRankPair(int64_t first, int64_t count, int64_t in_features, int64_t rank, bool allocated, const at::TensorOptions& options);

  /// `[r, in]`: A, or diag(E) A.
  at::Tensor down() const { return lora_E.defined() ? lora_A * lora_E : lora_A; }
  int64_t rank() const { return lora_A.size(0); }

  at::Tensor lora_A;  ///< `[r, in]`
  at::Tensor lora_E;  ///< `[r, 1]`; undefined unless ranks are allocated
  at::Tensor lora_B;  ///< `[rows, r]`
};

/// What LoRA and ResLoRA have in common.
struct LowRankOptions {
  int64_t rank;
  double alpha, dropout;
  bool allocated;  ///< whether ranks are allocated
};

/// A low-rank update of a linear site.
class LowRankAdapter : public ProjectionAdapter<LowRankPair> {
 public:
  LowRankAdapter(const nn::SiteInfo& info, const nn::WeightSite& site, const std::vector<int64_t>& chosen, bool whole,
                 const LowRankOptions& options);

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override;

  const Updates& pairs() const { return updates(); }
  int64_t rank() const { return pairs()[0]->rank(); }

 protected:
  /// Where the updates of `asked` start in the output.
  static std::vector<int64_t> rows(const std::vector<Asked>& asked);

  /// `x` after dropout while training with one; none otherwise.
  std::optional<at::Tensor> dropped(const at::Tensor& x) const;

  double scaling() const { return scaling_; }

 private:
  double scaling_, dropout_;
};

/// One tensor of several, below each other (`dim` 0) or side by side.
at::Tensor join(const std::vector<at::Tensor>& tensors, int64_t dim);

}  // namespace respeft::methods
