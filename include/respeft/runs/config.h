#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/options.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/options.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/train/options.h>

namespace respeft::runs {

/// Everything that decides a training run. `visit_fields` is the one list of its fields: the flags, the TOML file, the
/// printed table and the saved copy are all made from it.
struct TrainConfig : data::ImageOptions, train::TrainerOptions {
  std::string recipe;
  std::string model;
  std::string weights;
  int64_t image_size = 0;
  std::string pool;
  double drop_path = 0.0;
  double branch_dropout = 0.0;

  std::string data;
  std::string split;
  int64_t train_samples = 0;
  int64_t test_samples = 0;

  std::string method = "rlrr";
  Options method_options;  ///< the method's own; a missing one has its default. The table `[method_options]` in a file
  bool zero_head = true;
  std::string out;

  std::string train_split;
  std::string seeds;
  std::string grid;
  int64_t threads = 0;

  bool operator==(const TrainConfig&) const = default;

  data::DatasetOptions dataset_options() const { return {split}; }
  data::Preprocessing preprocessing() const { return {mean, std, image_size, interpolation, resize_size, resize_mode}; }
};

/// What the list says about one field.
struct FieldInfo {
  const char* name;
  const char* help;
  const char* group = "Training";                             ///< of flags in the help
  double minimum = -std::numeric_limits<double>::infinity();  ///< of a number
  double maximum = std::numeric_limits<double>::infinity();
  bool above_minimum = false;                                               ///< the minimum itself is not allowed
  std::vector<std::string> choices = {};                                    ///< of a text; empty: anything
  std::vector<std::pair<std::string, std::array<double, 3>>> presets = {};  ///< names for three numbers
  bool may_change = false;                                                  ///< may differ when a run is resumed
  bool path = false;                                                        ///< a path, or `kind:path`: made absolute
};

/// Calls `visit(info, member)` for every field but `method_options`, in the order people read them.
/// `Config` is `TrainConfig` or `const TrainConfig`.
template <class Config, class Visitor>
void visit_fields(Config& c, Visitor&& visit) {
  using Info = FieldInfo;
  visit(Info{.name = "recipe",
             .help = "where the settings that are not given come from: a name that 'respeft recipes' lists, or a TOML file",
             .group = "Run"},
        c.recipe);
  visit(Info{.name = "model", .help = "timm's name of the architecture, e.g. vit_base_patch16_224", .group = "Model"}, c.model);
  visit(Info{.name = "weights",
             .help = "pretrained weights (safetensors, .npz, .pth, .bin or a folder of shards); none: drawn at random and kept "
                     "in the run",
             .group = "Model",
             .path = true},
        c.weights);
  visit(Info{.name = "image_size",
             .help = "pixels a side of what the model reads; 0: the model's own",
             .group = "Model",
             .minimum = 0},
        c.image_size);
  visit(Info{.name = "pool",
             .help = "what the head reads: token or avg; empty: the model's own",
             .group = "Model",
             .choices = {"", "token", "avg"}},
        c.pool);
  visit(Info{.name = "data",
             .help = "KIND:PATH, e.g. imagefolder:flowers, vtab:ROOT/cifar, fgvc:ROOT/cub or fashion-mnist:PATH",
             .group = "Data",
             .path = true},
        c.data);
  visit(Info{.name = "split",
             .help = "shares by which a folder of classes without train/ and test/ is split: train (the rest is test), or "
                     "train,test, or train,val,test, e.g. 0.8,0.1,0.1; empty: the data have splits",
             .group = "Data"},
        c.split);
  visit(Info{.name = "train_samples",
             .help = "train on a seeded, class-balanced subset of this size; 0: all",
             .group = "Data",
             .minimum = 0},
        c.train_samples);
  visit(Info{.name = "test_samples", .help = "evaluate on the first so many test images; 0: all", .group = "Data", .minimum = 0},
        c.test_samples);
  visit(Info{.name = "mean",
             .help = "subtracted from each channel of values in 0...1: R,G,B, or imagenet, or half",
             .group = "Data",
             .minimum = 0,
             .maximum = 1,
             .presets = {{"imagenet", {0.485, 0.456, 0.406}}, {"half", {0.5, 0.5, 0.5}}}},
        c.mean);
  visit(Info{.name = "std",
             .help = "then divided by: R,G,B, or imagenet, or half",
             .group = "Data",
             .minimum = 0,
             .above_minimum = true,
             .presets = {{"imagenet", {0.229, 0.224, 0.225}}, {"half", {0.5, 0.5, 0.5}}}},
        c.std);
  visit(Info{.name = "interpolation", .help = "how images are resized", .group = "Data", .choices = {"bicubic", "bilinear"}},
        c.interpolation);
  visit(Info{.name = "resize_size",
             .help = "pixels that images are resized to before image_size of them are cut out; 0: image_size",
             .group = "Data",
             .minimum = 0,
             .maximum = 1 << 16},
        c.resize_size);
  visit(Info{.name = "resize_mode",
             .help = "squash: to a square; shortest: the shorter side, aspect kept",
             .group = "Data",
             .choices = {"squash", "shortest"}},
        c.resize_mode);
  visit(Info{.name = "random_crop", .help = "cut training images out anywhere, not in the middle", .group = "Data"},
        c.random_crop);
  visit(
      Info{.name = "random_resized_crop",
           .help = "cut this share of a training image to all of it out, at aspect ratios of 3/4 to 4/3, and resize that (timm: "
                   "0.08); 0: off",
           .group = "Data",
           .minimum = 0,
           .maximum = 1},
      c.random_resized_crop);
  visit(Info{.name = "flip", .help = "flip training images left to right at random", .group = "Data"}, c.flip);
  visit(Info{.name = "method", .help = "how to fine-tune", .group = "Method"}, c.method);
  visit(Info{.name = "zero_head", .help = "start with a head of zeros, not the weights file's", .group = "Method"}, c.zero_head);
  visit(Info{.name = "out", .help = "the run's directory", .group = "Run"}, c.out);
  visit(Info{.name = "epochs", .help = "epochs of the cosine schedule, warm-up included", .minimum = 1}, c.epochs);
  visit(Info{.name = "warmup_epochs", .help = "epochs of linear warm-up; -1: a tenth of the epochs", .minimum = -1},
        c.warmup_epochs);
  visit(Info{.name = "warmup_prefix",
             .help = "begin the cosine after the warm-up, as VPT's code does; off: the warm-up takes its first epochs"},
        c.warmup_prefix);
  visit(Info{.name = "cooldown_epochs", .help = "epochs at min_lr after the cosine", .minimum = 0}, c.cooldown_epochs);
  visit(Info{.name = "batch_size", .help = "images in one forward and backward", .minimum = 1}, c.batch_size);
  visit(Info{.name = "accumulate", .help = "batches whose gradients make one step", .minimum = 1}, c.accumulate);
  visit(Info{.name = "eval_batch_size", .help = "images in one forward of an evaluation", .minimum = 1}, c.eval_batch_size);
  visit(Info{.name = "optimizer", .help = "AdamW, or SGD with momentum", .choices = {"adamw", "sgd"}}, c.optimizer);
  visit(Info{.name = "momentum", .help = "SGD's momentum", .minimum = 0, .maximum = 1}, c.momentum);
  visit(Info{.name = "lr", .help = "highest learning rate", .minimum = 0, .above_minimum = true}, c.lr);
  visit(Info{.name = "warmup_lr", .help = "learning rate that the warm-up starts from", .minimum = 0}, c.warmup_lr);
  visit(Info{.name = "min_lr", .help = "learning rate that the cosine ends at", .minimum = 0}, c.min_lr);
  visit(
      Info{.name = "schedule_lag",
           .help = "set each epoch's rate by the number of the epoch before, as RLRR's code does; off: by its own, as timm does"},
      c.schedule_lag);
  visit(Info{.name = "weight_decay", .help = "the optimizer's; decay says of which parameters", .minimum = 0}, c.weight_decay);
  visit(
      Info{.name = "decay",
           .help = "what weight_decay applies to: names: parameters without bias or norm in their name; matrices: those of more "
                   "than one dimension; all",
           .choices = {"names", "matrices", "all"}},
      c.decay);
  visit(Info{.name = "label_smoothing", .help = "share of the target spread evenly over all classes", .minimum = 0, .maximum = 1},
        c.label_smoothing);
  visit(Info{.name = "ema_decay",
             .help = "evaluate and keep the parameters' exponential moving average: its decay a step, e.g. 0.9998; 0: off",
             .minimum = 0,
             .maximum = 1},
        c.ema_decay);
  visit(Info{.name = "auto_augment",
             .help = "RandAugment of training images, as timm writes it, e.g. rand-m9-mstd0.5-inc1; empty: off",
             .group = "Augmentation"},
        c.auto_augment);
  visit(Info{.name = "train_interpolation",
             .help = "of random_resized_crop and of RandAugment's rotations, shears and moves; random: bilinear or bicubic, "
                     "drawn each time",
             .group = "Augmentation",
             .choices = {"random", "bilinear", "bicubic"}},
        c.train_interpolation);
  visit(Info{.name = "random_erasing",
             .help = "share of training images of which a rectangle is erased (timm: reprob)",
             .group = "Augmentation",
             .minimum = 0,
             .maximum = 1},
        c.random_erasing);
  visit(Info{.name = "random_erasing_mode",
             .help = "what takes its place: pixel: noise; rand: a random color; const: the mean (timm: remode)",
             .group = "Augmentation",
             .choices = {"pixel", "rand", "const"}},
        c.random_erasing_mode);
  visit(Info{.name = "random_erasing_count",
             .help = "at most so many rectangles an image (timm: recount)",
             .group = "Augmentation",
             .minimum = 1},
        c.random_erasing_count);
  visit(Info{.name = "mixup",
             .help = "alpha of Mixup: images and labels are mixed with a share from Beta(alpha, alpha); 0: off",
             .group = "Augmentation",
             .minimum = 0},
        c.mixup);
  visit(Info{.name = "cutmix",
             .help = "alpha of CutMix: boxes of other images, of a share from 1 - Beta(alpha, alpha); 0: off",
             .group = "Augmentation",
             .minimum = 0},
        c.cutmix);
  visit(Info{.name = "mixup_prob",
             .help = "of mixing a batch, where mixup or cutmix is on",
             .group = "Augmentation",
             .minimum = 0,
             .maximum = 1},
        c.mixup_prob);
  visit(Info{.name = "mixup_switch_prob",
             .help = "of CutMix rather than Mixup, where both are on",
             .group = "Augmentation",
             .minimum = 0,
             .maximum = 1},
        c.mixup_switch_prob);
  visit(Info{.name = "mixup_off_epoch",
             .help = "epochs after which batches are no longer mixed; 0: all are",
             .group = "Augmentation",
             .minimum = 0},
        c.mixup_off_epoch);
  visit(Info{.name = "clip_grad", .help = "largest norm of all gradients together; 0: no limit", .minimum = 0}, c.clip_grad);
  visit(Info{.name = "drop_path",
             .help = "stochastic depth: rate at which the last block's branches are dropped",
             .group = "Method",
             .minimum = 0,
             .maximum = 0.99},
        c.drop_path);
  visit(Info{.name = "branch_dropout",
             .help = "dropout of single elements of the branches, likewise",
             .group = "Method",
             .minimum = 0,
             .maximum = 0.99},
        c.branch_dropout);
  visit(
      Info{.name = "protocol",
           .help =
               "which epoch counts: last; val: best on the validation split; paper: best on the TEST split; honest: the best on "
               "val, then trained anew on train and val, once a seed, each tested once",
           .group = "Run",
           .choices = {"last", "val", "paper", "honest"}},
      c.protocol);
  visit(Info{.name = "train_split",
             .help = "trained on: train or trainval; empty: train with protocol val, otherwise trainval where there is one",
             .group = "Run",
             .choices = {"", "train", "trainval"}},
        c.train_split);
  visit(Info{.name = "stop_epoch", .help = "end after this epoch of the schedule; 0: after all", .group = "Run", .minimum = 0},
        c.stop_epoch);
  visit(Info{.name = "final_test", .help = "evaluate on the test split at the end; off: it is not opened", .group = "Run"},
        c.final_test);
  visit(Info{.name = "eval_every", .help = "epochs between evaluations; 0: only after the last", .group = "Run", .minimum = 0},
        c.eval_every);
  visit(Info{.name = "seed", .help = "of the data's order, new parameters and dropout", .group = "Run", .minimum = 0}, c.seed);
  visit(
      Info{
          .name = "seeds",
          .help =
              "train once with each, e.g. 1,2,3, and give mean and deviation; empty: with seed alone (protocol honest: with five "
              "from seed on)",
          .group = "Run"},
      c.seeds);
  visit(Info{.name = "grid",
             .help = "settings that protocol honest chooses on val, e.g. lr=1e-3,3e-3;weight_decay=0,1e-4",
             .group = "Run"},
        c.grid);
  visit(Info{.name = "precision",
             .help = "of the forward pass; bfloat16 is autocast",
             .group = "Run",
             .choices = {"float32", "bfloat16"}},
        c.precision);
  visit(Info{.name = "threads",
             .help = "threads for computing; 0: as many as cores",
             .group = "Run",
             .minimum = 0,
             .may_change = true},
        c.threads);
  visit(Info{.name = "workers",
             .help = "threads for reading and resizing images; 0: none, done in between",
             .group = "Data",
             .minimum = 0,
             .may_change = true},
        c.workers);
}

/// Sets a field from text, e.g. a flag's. Throws `std::invalid_argument` on an unknown name or a value out of range.
void set_field(TrainConfig& config, const std::string& name, const std::string& text);

/// Reads TOML over `defaults`: the fields' names as keys, and the method's options; tables only group keys.
/// Throws `std::invalid_argument` with `origin`, line and key, and what may have been meant.
TrainConfig parse_config(const std::string& toml, const std::string& origin, TrainConfig defaults = {});
/// The same, from a file. Throws `std::runtime_error` if it cannot be read.
TrainConfig read_config(const std::string& path, TrainConfig defaults = {});

/// Every field with its help as a comment; `parse_config` reads it back equal.
std::string to_toml(const TrainConfig& config);

/// Every field's name and value, the method's options after it.
std::vector<std::pair<std::string, std::string>> describe(const TrainConfig& config);

/// Checks every range and what fields require of each other, and replaces each "the model's own", "a tenth" and default
/// of a method's option by its value; paths become absolute. Throws `std::invalid_argument`.
TrainConfig resolve(TrainConfig config);

/// One line for each field that keeps a run that was started as `started` from going on as `asked` (both resolved).
std::vector<std::string> conflicts(const TrainConfig& started, const TrainConfig& asked);

}  // namespace respeft::runs
