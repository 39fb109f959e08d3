#include <respeft/runs/config.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include <respeft/data/image/augment.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>

#include <respeft/core/text.h>
#include "src/runs/config_values.h"
#include "src/runs/grid.h"

namespace respeft::runs {
namespace {

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
  require(c.ema_decay < 1.0, "ema_decay: must be below 1: at 1 the average never leaves its first value");
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

void set_field(TrainConfig& config, const std::string& name, const std::string& text) {
  bool found = false;
  visit_fields(config, [&](const FieldInfo& info, auto& member) {
    if (name != info.name) return;
    found = true;
    try {
      auto value = member;
      values::parse(info, text, value);
      values::check(info, value);
      member = value;
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": " + error.what());
    }
  });
  if (!found) throw std::invalid_argument(text::unknown("setting", name, values::field_names()));
}

std::string to_toml(const TrainConfig& config) {
  std::string text;
  visit_fields(config, [&](const FieldInfo& info, const auto& member) {
    text += fmt::format("# {}\n{} = {}\n", info.help, info.name, values::to_toml(member));
  });
  text += "\n[method_options]\n";
  for (const auto& [name, value] : config.method_options) text += fmt::format("{} = {}\n", name, values::option_to_toml(value));
  return text;
}

std::vector<std::pair<std::string, std::string>> describe(const TrainConfig& config) {
  std::vector<std::pair<std::string, std::string>> rows;
  visit_fields(config, [&](const FieldInfo& info, const auto& member) { rows.emplace_back(info.name, values::to_text(member)); });
  for (const auto& [name, value] : config.method_options) rows.emplace_back("method: " + name, to_string(value));
  return rows;
}

TrainConfig resolve(TrainConfig config) {
  visit_fields(config, [](const FieldInfo& info, auto& member) {
    try {
      values::check(info, member);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(fmt::format("{}: {}", info.name, error.what()));
    }
    if constexpr (std::is_same_v<std::decay_t<decltype(member)>, std::string>) {
      if (info.path) member = absolute_spec(info.name, member);
      require(text::is_utf8(member),
              fmt::format("{}: '{}' is not UTF-8, which the run's config.toml has to be", info.name, text::to_utf8(member)));
    }
  });
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
  const auto before = describe(started), now = describe(asked);
  std::vector<std::string> lines;
  std::vector<std::string> changeable = {"epochs", "out"};
  visit_fields(started, [&](const FieldInfo& info, const auto&) {
    if (info.may_change) changeable.push_back(info.name);
  });
  for (size_t i = 0; i < std::min(before.size(), now.size()); ++i) {
    const auto& [name, value] = before[i];
    if (std::find(changeable.begin(), changeable.end(), name) != changeable.end() || before[i] == now[i]) continue;
    if (now[i].second.empty() && filled_in_by_run(name, started)) continue;
    if (name != now[i].first) break;  // another method: its name has been reported
    lines.push_back(fmt::format("{}: the run was started with '{}', asked for is '{}'", name, value, now[i].second));
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
