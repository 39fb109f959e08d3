#include <respeft/train/schedule.h>

#include <cmath>
#include <numbers>

namespace respeft::train {

double CosineSchedule::value(int64_t t) const {
  if (t < warmup_epochs) return warmup_lr + static_cast<double>(t) * (lr - warmup_lr) / static_cast<double>(warmup_epochs);
  if (t >= epochs) return min_lr;
  return min_lr + 0.5 * (lr - min_lr) * (1.0 + std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(epochs)));
}

}  // namespace respeft::train
