#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include <respeft/core/fields.h>

namespace respeft::train {

/// Training settings that do not depend on the model or the task. `fields()` describes each member.
struct TrainerOptions {
  int64_t epochs = 100;
  std::string schedule_by = "epoch";
  int64_t warmup_epochs = -1;
  int64_t warmup_steps = -1;
  bool warmup_prefix = false;
  int64_t cooldown_epochs = 0;
  int64_t batch_size = 32;
  int64_t accumulate = 1;
  int64_t eval_batch_size = 64;
  std::string optimizer = "adamw";
  double momentum = 0.9;
  double lr = 1e-3;
  double warmup_lr = -1.0;
  double min_lr = 1e-8;
  bool schedule_lag = false;
  double weight_decay = 5e-5;
  std::string decay = "names";
  double ema_decay = 0.0;
  double clip_grad = 0.0;

  std::string protocol = "last";
  int64_t stop_epoch = 0;
  bool final_test = true;
  int64_t eval_every = 1;
  int64_t eval_every_steps = 0;
  int64_t checkpoint_every_steps = 0;
  int64_t seed = 42;
  std::string precision = "float32";

  bool operator==(const TrainerOptions&) const = default;

  Fields fields();

  /// The learning rate that a warm-up of `warmup` epochs or steps starts from: `warmup_lr` or, if that is negative,
  /// lr / (warmup + 1), the first step of a line from 0 to lr.
  double warmup_start(int64_t warmup) const;

  /// Total number of epochs: those of the cosine, then those of the cool-down.
  int64_t total_epochs() const { return epochs + cooldown_epochs; }
  /// The last epoch that is trained.
  int64_t last_epoch() const { return stop_epoch > 0 ? std::min(stop_epoch, total_epochs()) : total_epochs(); }
};

}  // namespace respeft::train
