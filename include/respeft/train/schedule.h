#pragma once

#include <cstdint>

namespace respeft::train {

/// timm's cosine schedule by epochs with a linear warm-up and a cool-down. Source: timm 1.0 `CosineLRScheduler` (one cycle,
/// `warmup_prefix` false: the warm-up takes the cosine's first epochs).
struct CosineSchedule {
  double lr = 1e-3;         ///< highest
  double warmup_lr = 1e-7;  ///< the warm-up's start
  double min_lr = 1e-8;
  int64_t epochs = 100;  ///< the cosine's length, warm-up included; later epochs run at `min_lr`
  int64_t warmup_epochs = 10;
  bool lag = true;  ///< as RLRR's and FacT's code; false: as timm's own training script and VPT's

  /// The value that timm's scheduler gives for time `t`.
  double value(int64_t t) const;
  /// The rate at which `epoch` (from 0) runs: `value(epoch)`, or with `lag`, where the scheduler is stepped after each epoch with
  /// that epoch's number, `value(epoch - 1)`, so that epochs 0 and 1 both run at `value(0)`.
  double at_epoch(int64_t epoch) const { return value(lag && epoch > 0 ? epoch - 1 : epoch); }
};

}  // namespace respeft::train
