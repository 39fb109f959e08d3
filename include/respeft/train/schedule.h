#pragma once

#include <cstdint>

namespace respeft::train {

/// timm's cosine schedule with a linear warm-up and a cool-down. Times are counted in epochs or steps.
/// Source: timm 1.0 `CosineLRScheduler` (one cycle).
struct CosineSchedule {
  double lr = 1e-3;         ///< highest
  double warmup_lr = 1e-7;  ///< the warm-up's start
  double min_lr = 1e-8;
  int64_t duration = 100;  ///< including the warm-up; after it the rate is `min_lr`
  int64_t warmup = 10;
  bool lag = true;  ///< see `at`; true in RLRR's and FacT's code, false in timm's training script and SSF's and VPT's code
  /// True: the cosine begins after the warm-up and takes the rest of `duration`, as in VPT's `WarmupCosineSchedule` (timm's
  /// `warmup_prefix` with `t_initial = duration - warmup`). False: the warm-up replaces the first part of the cosine.
  bool prefix = false;

  /// The scheduler's value for time `t`.
  double value(int64_t t) const;
  /// The learning rate of epoch or step `t` (from 0): `value(t)`, or with `lag` `value(t - 1)`, because then the scheduler is
  /// stepped only after each epoch. With `lag`, the first two both have `value(0)`.
  double at(int64_t t) const { return value(lag && t > 0 ? t - 1 : t); }
};

}  // namespace respeft::train
