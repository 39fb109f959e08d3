#pragma once

#include <respeft/nn/adapter.h>
#include <respeft/options.h>

#include <memory>
#include <string>
#include <vector>

#include "src/methods/fields.h"

namespace respeft::methods {

/// One A, B pair: the update `B A` of a contiguous run of the weight's rows.
class LowRankPair : public torch::nn::Module {
 public:
  /// A starts Kaiming-uniform, B at zero.
  LowRankPair(int64_t first_row, int64_t rows, int64_t in_features, int64_t rank, const at::TensorOptions& options);

  int64_t first_row;
  at::Tensor lora_A;  ///< `[r, in]`
  at::Tensor lora_B;  ///< `[rows, r]`
};

/// A low-rank update of a linear site: one pair for the whole weight, or one for each chosen projection fused in it.
class LowRankAdapter : public nn::Adapter {
 public:
  /// `chosen` are the parts that get a pair; with `whole` the fused weight gets one, as if it were not fused.
  LowRankAdapter(const nn::SiteInfo& info, const nn::Site& site, const std::vector<int64_t>& chosen, bool whole, int64_t rank,
                 double alpha, double dropout);

  nn::Fold fold(const at::Tensor& weight, const at::Tensor& bias) const override;

  const std::vector<std::shared_ptr<LowRankPair>>& pairs() const { return pairs_; }

 protected:
  /// A pair as one call needs it.
  struct Asked {
    size_t index;  ///< in `pairs()`
    int64_t row;   ///< of the output asked for, where the update starts
    int64_t skip;  ///< rows of the pair's B before the first that is asked for
    int64_t rows;  ///< rows of B that are asked for
  };
  /// The pairs that `range` takes in; all have the same number of rows.
  std::vector<Asked> asked(const nn::PartRange& range) const;
  /// Where the updates of `asked` start in the output.
  static std::vector<int64_t> rows(const std::vector<Asked>& asked);

  /// `x` after dropout while training with one; none otherwise.
  std::optional<at::Tensor> dropped(const at::Tensor& x) const;

  double scaling() const { return scaling_; }

 private:
  double scaling_, dropout_;
  int64_t part_features_;
  std::vector<std::shared_ptr<LowRankPair>> pairs_;
};

/// One tensor of several, below each other (`dim` 0) or side by side.
at::Tensor join(const std::vector<at::Tensor>& tensors, int64_t dim);

/// Throws `std::invalid_argument` on a rank below 1 or a dropout outside [0, 1).
void check_low_rank(const std::string& method, int64_t rank, double dropout);

}  // namespace respeft::methods
