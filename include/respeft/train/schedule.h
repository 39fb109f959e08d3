#pragma once

#include <cstdint>

namespace respeft::train {

/// timm's cosine schedule by epochs with a linear warm-up and a cool-down. Source: timm 1.0 `CosineLRScheduler` (one cycle).
struct CosineSchedule {
  double lr = 1e-3;         ///< highest
  double warmup_lr = 1e-7;  ///< the warm-up's start
  double min_lr = 1e-8;
  int64_t epochs = 100;  ///< warm-up included; later epochs run at `min_lr`
  int64_t warmup_epochs = 10;
  bool lag = true;  ///< as RLRR's and FacT's code; false: as timm's own training script, SSF's and VPT's code
  /// The cosine begins after the warm-up and takes the rest of `epochs`, as in VPT's `WarmupCosineSchedule` (timm's
  /// `warmup_prefix` with `t_initial = epochs - warmup_epochs`); false: the warm-up takes the cosine's first epochs.
  bool prefix = false;

  /// The scheduler's value for time `t`.
  double value(int64_t t) const;
  /// The rate at which `epoch` (from 0) runs: `value(epoch)`, or with `lag`, where the scheduler is stepped after each epoch with
  /// that epoch's number, `value(epoch - 1)`, so that epochs 0 and 1 both run at `value(0)`.
  double at_epoch(int64_t epoch) const { return value(lag && epoch > 0 ? epoch - 1 : epoch); }
};

}  // namespace respeft::train
