#include <respeft/runs/config.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include <respeft/data/image/augment.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/tasks/registry.h>

#include <respeft/core/text.h>

#include "src/runs/grid.h"

namespace respeft::runs {
namespace {

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const auto& entry : tasks::registry()) names.push_back(entry.name);
  return names;
}

std::string absolute_path(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

/// A path, or the path in `kind:path`.
std::string absolute_spec(const std::string& field, const std::string& value) {
  if (value.empty()) return value;
  if (field != "data") return absolute_path(value);
  const size_t colon = value.find(':');
  if (colon == std::string::npos || colon + 1 == value.size()) return value;
  return value.substr(0, colon + 1) + absolute_path(value.substr(colon + 1));
}

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

void check_auto_augment(const std::string& policy) {
  try {
    data::RandAugment{policy};
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("auto_augment: {}", error.what()));
  }
}

void check_together(const TrainConfig& c) {
  require(!c.model.empty(), "model: missing; give --model, e.g. --model vit_base_patch16_224");
  require(!c.data.empty(), "data: missing; give --data KIND:PATH");
  if (!c.split.empty()) data::split_shares_from_text(c.split);
  require(!c.out.empty(), "out: missing; give --out DIR for the run's files");
  require(!c.method.empty(), "method: missing; the recipe's own method is not in this program: give --method");
  require(c.min_lr <= c.lr, fmt::format("min_lr: must not be above lr = {}, not {}", c.lr, c.min_lr));
  require(c.warmup_epochs <= c.epochs,
          fmt::format("warmup_epochs: must not be above epochs = {}, not {}{}", c.epochs, c.warmup_epochs,
                      c.recipe.empty()
                          ? ""
                          : fmt::format("; recipe {} has its own: give --warmup-epochs and --cooldown-epochs too", c.recipe)));
  require(c.protocol == "last" || c.protocol == "honest" || c.eval_every > 0,
          fmt::format("eval_every: must be above 0 with protocol = {}, which chooses among the epochs", c.protocol));
  require(c.protocol != "val" || c.train_split != "trainval",
          "train_split: not trainval with protocol = val, which chooses by val");
  require(c.protocol != "honest" || (c.train_split.empty() && c.stop_epoch == 0 && c.final_test),
          "protocol: 'honest' itself sets train_split, stop_epoch and final_test");
  require(c.protocol != "paper" || c.final_test, "final_test: must be on with protocol = paper, which chooses by test");
  require(c.seeds.empty() || c.final_test, "final_test: must be on with seeds, whose mean on test is what they are for");
  require(c.grid.empty() || c.protocol == "honest", "grid: only with protocol = honest, which chooses from it on val");
  parse_seeds(c.seeds);
  require(c.warmup_lr >= 0.0 || c.warmup_lr == -1.0,
          fmt::format("warmup_lr: must be at least 0, or -1 for lr / (warmup_epochs + 1), not {}", c.warmup_lr));
  require(c.schedule_by == "step" || c.warmup_steps < 0, "warmup_steps: only with schedule_by = step; else give warmup_epochs");
  require(c.schedule_by == "epoch" || !c.schedule_lag,
          "schedule_lag: only with schedule_by = epoch: it delays the schedule by an epoch");
  require(!c.mixes() || c.batch_size % 2 == 0,
          fmt::format("batch_size: must be even with mixup or cutmix, where each image of a batch has a partner, not {}",
                      c.batch_size));
  if (!c.auto_augment.empty()) check_auto_augment(c.auto_augment);
  require(!c.random_crop || c.random_resized_crop == 0,
          "random_crop: not with random_resized_crop, which crops the images itself");
  for (const auto& settings : parse_grid(c.grid)) {
    TrainConfig candidate = with_settings(c, settings);
    candidate.grid.clear();
    check_together(candidate);
  }
}

/// Whether the run put a value where none was given.
bool filled_in_by_run(const std::string& field, const TrainConfig& started) {
  return field == "train_split" || (field == "weights" && std::filesystem::path(started.weights).parent_path() == started.out);
}

/// Of sizes, once `image_size` is known.
void check_crop(const TrainConfig& c) {
  data::check_sizes(c.preprocessing());
  require(!c.random_crop || c.resize_mode == "shortest" || c.resize_size > c.image_size,
          fmt::format(
              "random_crop: images are resized to the very {0} × {0} pixels that the model reads, so there is nothing to choose; "
              "give resize_size above {0}, or resize_mode = shortest",
              c.image_size));
}

}  // namespace

Fields TrainConfig::fields() {
  Fields list;
  list.add({.name = "recipe",
            .help = "settings that no flag gives: a name that 'respeft recipes' lists, or a TOML file",
            .group = "Run",
            .placeholder = "NAME|FILE"},
           recipe);
  list.add({.name = "model",
            .help = "timm's name of the architecture, e.g. vit_base_patch16_224",
            .group = "Model",
            .placeholder = "NAME"},
           model);
  list.add({.name = "weights",
            .help = "pretrained weights (safetensors, .npz, .pth, .bin or a folder of shards); none: drawn at random and kept "
                    "in the run",
            .group = "Model",
            .path = true,
            .placeholder = "FILE"},
           weights);
  list.add(
      {.name = "state_dict",
       .help = "which of several state dicts in the weights file: its name in the checkpoint, e.g. state_dict_ema, or the prefix "
               "of its tensors' names",
       .group = "Model",
       .placeholder = "KEY"},
      state_dict);
  list.add(
      {.name = "image_size", .help = "pixels a side of the model's input; 0: the model's own", .group = "Model", .minimum = 0},
      image_size);
  list.add({.name = "pool",
            .help = "input of the head: token or avg; empty: the model's own",
            .group = "Model",
            .choices = {"", "token", "avg"}},
           pool);
  list.add({.name = "data",
            .help = "KIND:PATH, e.g. imagefolder:flowers, vtab:ROOT/cifar, fgvc:ROOT/cub or fashion-mnist:PATH",
            .group = "Data",
            .path = true,
            .placeholder = "KIND:PATH"},
           data);
  list.add({.name = "task",
            .help = "what is learned from the data: " + text::join(task_names(), ", "),
            .group = "Data",
            .choices = task_names(),
            .placeholder = "NAME"},
           task);
  list.add({.name = "train_split",
            .help = "split to train on: train or trainval; empty: train with protocol val, otherwise trainval if there is one",
            .group = "Run",
            .choices = {"", "train", "trainval"}},
           train_split);
  list.add(
      {.name = "split",
       .help = "shares by which a folder of classes without train/ and test/ is split: train (the rest is test), or train,test, "
               "or train,val,test, e.g. 0.8,0.1,0.1; empty: the data have splits",
       .group = "Data"},
      split);
  list.add({.name = "train_samples",
            .help = "train on a seeded, class-balanced subset of this size; 0: all",
            .group = "Data",
            .minimum = 0},
           train_samples);
  list.add({.name = "test_samples",
            .help = "evaluate on a seeded, class-balanced subset of this size of the test images; 0: all",
            .group = "Data",
            .minimum = 0},
           test_samples);
  list.add(data::ImageOptions::fields());
  list.add({.name = "method", .help = "how to fine-tune", .group = "Method", .placeholder = "NAME"}, method);
  list.add({.name = "zero_head", .help = "start with a head of zeros, not the weights file's", .group = "Method"}, zero_head);
  list.add({.name = "drop_path",
            .help = "stochastic depth: rate at which the last block's branches are dropped",
            .group = "Method",
            .minimum = 0,
            .maximum = 0.99},
           drop_path);
  list.add({.name = "branch_dropout",
            .help = "dropout of single elements of the branches: the last block's rate",
            .group = "Method",
            .minimum = 0,
            .maximum = 0.99},
           branch_dropout);
  list.add(train::TrainerOptions::fields());
  list.add({.name = "seeds",
            .help = "train once with each seed, e.g. 1,2,3, and report mean and deviation; empty: only seed (protocol honest: "
                    "five from seed on)",
            .group = "Run"},
           seeds);
  list.add({.name = "grid",
            .help = "settings among which protocol honest chooses on val, e.g. lr=1e-3,3e-3;weight_decay=0,1e-4",
            .group = "Run"},
           grid);
  list.add(
      {.name = "threads", .help = "threads for computing; 0: as many as cores", .group = "Run", .minimum = 0, .may_change = true},
      threads);
  list.add({.name = "out", .help = "the run's directory", .group = "Run", .placeholder = "DIR"}, out);
  return list;
}

void set_field(TrainConfig& config, const std::string& name, const std::string& text) {
  config.fields().set(name, text);
}

std::string to_toml(const TrainConfig& config) {
  TrainConfig copy = config;
  std::string text = copy.fields().toml() + "\n[method_options]\n";
  for (const auto& [name, value] : config.method_options) text += fmt::format("{} = {}\n", name, respeft::to_toml(value));
  return text;
}

std::vector<std::pair<std::string, std::string>> describe(const TrainConfig& config) {
  TrainConfig copy = config;
  auto rows = copy.fields().describe();
  for (const auto& [name, value] : config.method_options) rows.emplace_back("method: " + name, to_string(value));
  return rows;
}

TrainConfig resolve(TrainConfig config) {
  const Fields fields = config.fields();
  fields.check();
  for (const auto& field : fields) {
    if (field.info.path) field.set(absolute_spec(field.info.name, field.text()));
    require(text::is_utf8(field.text()), fmt::format("{}: '{}' is not UTF-8, which the run's config.toml has to be",
                                                     field.info.name, text::to_utf8(field.text())));
  }
  check_together(config);
  config.out = absolute_path(config.out);
  config.method_options = methods::create(config.method, config.method_options)->options();
  models::ModelOptions shape;
  shape.device = at::kMeta;
  if (config.image_size > 0) shape.image_size = config.image_size;
  shape.pool = config.pool;
  config.image_size = models::create(config.model, shape)->input().side();
  check_crop(config);
  if (config.warmup_epochs < 0) config.warmup_epochs = config.epochs / 10;
  return config;
}

std::vector<std::string> conflicts(const TrainConfig& started, const TrainConfig& asked) {
  TrainConfig before = started, now = asked;
  std::vector<std::string> lines;
  const auto differs = [&](const std::string& name, const std::string& was, const std::string& is) {
    lines.push_back(fmt::format("{}: the run was started with '{}', asked for is '{}'", name, was, is));
  };
  for (const auto& [info, was, is] : before.fields().differences(now.fields())) {
    const bool changeable = info.may_change || info.name == "epochs" || info.name == "out";
    if (changeable || (is.empty() && filled_in_by_run(info.name, started))) continue;
    differs(info.name, was, is);
  }
  for (const auto& [name, value] : started.method_options) {
    const auto other = asked.method_options.find(name);
    if (started.method != asked.method || other == asked.method_options.end() || other->second == value) continue;
    differs("method: " + name, to_string(value), to_string(other->second));
  }
  if (started.protocol == "honest" && asked.epochs != started.epochs) {
    lines.push_back(fmt::format("epochs: with protocol = honest, a run that was started with {} cannot go on with others: {}",
                                started.epochs, asked.epochs));
  } else if (asked.epochs < started.epochs) {
    lines.push_back(
        fmt::format("epochs: the run was started with {}, and may get more but not fewer: {}", started.epochs, asked.epochs));
  }
  return lines;
}

}  // namespace respeft::runs
