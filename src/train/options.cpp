#include <respeft/train/options.h>

namespace respeft::train {

Fields TrainerOptions::fields() {
  Fields list;
  list.add({.name = "epochs", .help = "epochs of the cosine schedule, warm-up included", .minimum = 1}, epochs);
  list.add({.name = "schedule_by",
            .help = "epoch: the learning rate changes once an epoch; step: at every step",
            .choices = {"epoch", "step"}},
           schedule_by);
  list.add({.name = "warmup_epochs", .help = "epochs of linear warm-up; -1: a tenth of the epochs", .minimum = -1},
           warmup_epochs);
  list.add({.name = "warmup_steps",
            .help = "steps of linear warm-up, with schedule_by step; -1: those of warmup_epochs",
            .minimum = -1},
           warmup_steps);
  list.add({.name = "warmup_prefix",
            .help = "begin the cosine after the warm-up, as VPT's code does; off: the warm-up takes its first epochs"},
           warmup_prefix);
  list.add({.name = "cooldown_epochs", .help = "epochs at min_lr after the cosine", .minimum = 0}, cooldown_epochs);
  list.add({.name = "batch_size", .help = "images in one forward and backward pass", .minimum = 1}, batch_size);
  list.add({.name = "accumulate", .help = "batches whose gradients make one step", .minimum = 1}, accumulate);
  list.add({.name = "eval_batch_size", .help = "images in one forward pass of an evaluation", .minimum = 1}, eval_batch_size);
  list.add({.name = "optimizer", .help = "adamw, or sgd with momentum", .choices = {"adamw", "sgd"}}, optimizer);
  list.add({.name = "momentum", .help = "momentum of SGD", .minimum = 0, .maximum = 1}, momentum);
  list.add({.name = "lr", .help = "highest learning rate", .minimum = 0, .above_minimum = true}, lr);
  list.add(
      {.name = "warmup_lr",
       .help = "learning rate that the warm-up starts from; -1: lr / (warmup_epochs + 1), the first step of a line from 0 to lr",
       .minimum = -1},
      warmup_lr);
  list.add({.name = "min_lr", .help = "learning rate that the cosine ends at", .minimum = 0}, min_lr);
  list.add({.name = "schedule_lag",
            .help = "give each epoch the learning rate of the epoch before, as RLRR's and FacT's code does (the first two epochs "
                    "run at warmup_lr); off: its own, as timm's training script does"},
           schedule_lag);
  list.add({.name = "weight_decay", .help = "weight decay of the parameters that decay chooses", .minimum = 0}, weight_decay);
  list.add(
      {.name = "decay",
       .help = "parameters that weight_decay applies to: names: those without bias or norm in their name; matrices: those of "
               "more than one dimension; all",
       .choices = {"names", "matrices", "all"}},
      decay);
  list.add({.name = "ema_decay",
            .help = "evaluate and keep the parameters' exponential moving average: decay per step, e.g. 0.9998; 0: off",
            .minimum = 0,
            .maximum = 1,
            .below_maximum = true},
           ema_decay);
  list.add({.name = "clip_grad", .help = "largest norm of all gradients together; 0: no limit", .minimum = 0}, clip_grad);
  list.add(
      {.name = "protocol",
       .help = "which epoch counts: last; val: best on the validation split; paper: best on the TEST split; honest: the best on "
               "val, then trained anew on train and val, once a seed, each tested once",
       .group = "Run",
       .choices = {"last", "val", "paper", "honest"}},
      protocol);
  list.add(
      {.name = "stop_epoch", .help = "stop after this epoch of the schedule; 0: after the last", .group = "Run", .minimum = 0},
      stop_epoch);
  list.add({.name = "final_test", .help = "evaluate on the test split at the end; off: it is not opened", .group = "Run"},
           final_test);
  list.add({.name = "eval_every", .help = "epochs between evaluations; 0: only after the last", .group = "Run", .minimum = 0},
           eval_every);
  list.add({.name = "eval_every_steps",
            .help = "steps between evaluations within an epoch; 0: only after epochs",
            .group = "Run",
            .minimum = 0},
           eval_every_steps);
  list.add({.name = "checkpoint_every_steps",
            .help = "steps between checkpoints within an epoch; 0: only after epochs",
            .group = "Run",
            .minimum = 0},
           checkpoint_every_steps);
  list.add({.name = "seed", .help = "seed of the data's order, new parameters and dropout", .group = "Run", .minimum = 0}, seed);
  list.add({.name = "precision",
            .help = "precision of the forward pass; bfloat16 uses autocast",
            .group = "Run",
            .choices = {"float32", "bfloat16"}},
           precision);
  return list;
}

double TrainerOptions::warmup_start(int64_t warmup) const {
  return warmup_lr >= 0.0 ? warmup_lr : lr / static_cast<double>(std::max<int64_t>(warmup, 0) + 1);
}

}  // namespace respeft::train
