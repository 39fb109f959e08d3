#include <respeft/train/schedule.h>

#include <cmath>
#include <numbers>

namespace respeft::train {

double CosineSchedule::value(int64_t t) const {
  if (t < warmup) return warmup_lr + static_cast<double>(t) * (lr - warmup_lr) / static_cast<double>(warmup);
  if (t >= duration) return min_lr;
  const int64_t begin = prefix ? warmup : 0;
  const double done = static_cast<double>(t - begin) / static_cast<double>(duration - begin);
  return min_lr + 0.5 * (lr - min_lr) * (1.0 + std::cos(std::numbers::pi * done));
}

}  // namespace respeft::train
