#pragma once

#include <respeft/methods/method.h>
#include <respeft/methods/rank_allocation.h>
#include <respeft/methods/targets.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/methods/low_rank.h"

namespace respeft::methods {

/// Prunes the directions of the updates it is given to a budget, while they train. See `RankAllocationOptions`.
class RankAllocator : public Attachment {
 public:
  explicit RankAllocator(const RankAllocationOptions& options);

  /// Takes in the updates of a site.
  void add(const std::string& site, const LowRankAdapter& adapter);

  at::Tensor regularization() const override;
  void after_step(int64_t step, int64_t steps) override;
  /// From the step on at which the ranks are final.
  bool finished(int64_t step, int64_t steps) const override { return is_final() || step >= phases(steps).end; }
  bool changes_parameters() const override { return true; }

  /// How many directions the whole model may keep after `step` of `steps`.
  int64_t budget(int64_t step, int64_t steps) const;

 private:
  /// A factor with the running means of its sensitivity and of that one's deviation, both of its shape.
  struct Factor {
    at::Tensor value, sensitivity, deviation;

    void update();
    at::Tensor importance() const { return sensitivity * deviation; }
  };
  struct Tracked {
    Factor a, e, b;
    at::Tensor kept;  ///< `[r, 1]`: 1 for directions within the budget, 0 for the others
  };
  /// The steps at which pruning begins and at which the ranks are final.
  struct Phases {
    int64_t start, end;
  };
  Phases phases(int64_t steps) const;
  /// Reads `final_`, anew only where it has been written to.
  bool is_final() const;
  void prune(int64_t budget);

  RankAllocationOptions options_;
  std::vector<Tracked> updates_;
  at::Tensor final_;  ///< `[1]`, 1 once the last pruning is done; it stays done when a run is made longer
  mutable std::optional<std::pair<uint32_t, bool>> known_final_;  ///< the version of `final_` that was read, and its value
};

/// Throws `std::invalid_argument` where there is something to allocate and none of `sites` that the targets match is a linear.
void check_allocation(const std::string& method, const RankAllocationOptions& options, const Targets& targets,
                      const std::vector<nn::NamedSite>& sites);

}  // namespace respeft::methods
