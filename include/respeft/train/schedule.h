#pragma once

#include <cstdint>

namespace respeft::train {

/// timm's cosine schedule with a linear warm-up and a cool-down. Its times are epochs or steps.
/// Source: timm 1.0 `CosineLRScheduler` (one cycle).
struct CosineSchedule {
  double lr = 1e-3;         ///< highest
  double warmup_lr = 1e-7;  ///< the warm-up's start
  double min_lr = 1e-8;
  int64_t duration = 100;  ///< warm-up included; later times have `min_lr`
  int64_t warmup = 10;
  bool lag = true;  ///< as RLRR's and FacT's code; false: as timm's own training script, SSF's and VPT's code
  /// The cosine begins after the warm-up and takes the rest of `duration`, as in VPT's `WarmupCosineSchedule` (timm's
  /// `warmup_prefix` with `t_initial = duration - warmup`); false: the warm-up takes the cosine's first part.
  bool prefix = false;

  /// The scheduler's value for time `t`.
  double value(int64_t t) const;
  /// The rate of epoch or step `t` (from 0): `value(t)`, or with `lag`, where the scheduler is stepped after each with its
  /// number, `value(t - 1)`, so that 0 and 1 both have `value(0)`.
  double at(int64_t t) const { return value(lag && t > 0 ? t - 1 : t); }
};

}  // namespace respeft::train
