#pragma once

#include <respeft/methods/method.h>
#include <respeft/methods/rank_allocation.h>
#include <respeft/methods/targets.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "src/methods/low_rank.h"

namespace respeft::methods {

/// Prunes the directions of the updates it is given to a budget, while they train. See `RankAllocationOptions`.
class RankAllocator : public TrainingHook {
 public:
  explicit RankAllocator(const RankAllocationOptions& options);

  /// Takes in the updates of a site; `site` is its name.
  void add(const std::string& site, const LowRankAdapter& adapter);

  at::Tensor penalty() const override;
  void after_step(int64_t step, int64_t steps) override;
  /// From the step on at which the ranks are final.
  bool settled(int64_t step, int64_t steps) const override { return is_final() || step >= phases(steps).end; }
  std::vector<std::pair<std::string, at::Tensor>> state() const override;

  /// How many directions the whole model may keep after `step` of `steps`.
  int64_t budget(int64_t step, int64_t steps) const;

 private:
  /// A factor with the running means of its sensitivity and of that one's deviation, both of its shape.
  struct Factor {
    std::string name;
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
  bool is_final() const { return final_.item<float>() > 0.0F; }
  void prune(int64_t budget);

  RankAllocationOptions options_;
  std::vector<Tracked> updates_;
  at::Tensor final_;  ///< `[1]`, 1 once the last pruning is done; it stays done when a run is made longer
};

/// The allocator of a method with these options; null where every rank stays.
/// Throws `std::invalid_argument` where there is something to allocate and none of `sites` that the targets match is a linear.
std::shared_ptr<RankAllocator> make_allocator(const std::string& method, const RankAllocationOptions& options,
                                              const Targets& targets, const std::vector<nn::NamedSite>& sites);

}  // namespace respeft::methods
