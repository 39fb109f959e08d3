#include "src/cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/methods/method.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/run.h>

#include "src/cli/output.h"
#include "src/cli/recipes.h"

namespace respeft::cli {
namespace {

/// The last value of a field in a list, if there is one.
std::optional<std::string> last_of(const std::vector<std::pair<std::string, std::string>>& list, const std::string& field) {
  const auto found = std::find_if(list.rbegin(), list.rend(), [&](const auto& entry) { return entry.first == field; });
  return found == list.rend() ? std::nullopt : std::optional(found->second);
}

void set(runs::TrainConfig& config, const std::string& name, const std::string& text) {
  Fields fields = config.fields();
  set_from_flag(fields, name, text);
}

/// A field's value as `describe` writes it, a path absolute.
std::string field_text(const Field& field, const std::string& text) {
  if (field.info.path && !text.empty()) return std::filesystem::absolute(text).lexically_normal().string();
  return to_string(parse_flag(field, text));
}

/// An option, of the first method that has one of this name; null where none has.
const Field* find_option(const std::string& name) {
  for (const auto& entry : methods::registry()) {
    if (const Field* option = entry.options.find(name)) return option;
  }
  return nullptr;
}

}  // namespace

void TrainFlags::declare(CLI::App& app, std::vector<std::string> without) {
  app_ = &app;
  without.push_back("threads");  // every command has it
  runs::TrainConfig defaults;
  for (const auto& field : defaults.fields()) {
    const std::string& name = field.info.name;
    if (std::find(without.begin(), without.end(), name) != without.end()) continue;
    if (name == "method") {
      method_.declare(app, field.text());
    } else {
      declare_field(field);
    }
  }
  app.add_flag("--resume", resume_, "continue what is in --out from its last checkpoint")->group("Run");
}

void TrainFlags::declare_field(const Field& field) {
  const auto keep = [this, name = field.info.name](const std::string& text) { given_.emplace_back(name, text); };
  const std::string flag = flag_name(field.info.name), value = field.text();
  if (field.is_switch()) {
    declare_switch(*app_, field, keep)->description(field.info.help + (value == "true" ? "; on unless " + flag + "=false" : ""));
  } else {
    declare_value(*app_, field, keep)->default_str(value);
  }
}

std::string TrainFlags::given(const std::string& field) const {
  return last_of(given_, field).value_or("");
}

Settings TrainFlags::settings() const {
  Settings all;
  runs::TrainConfig defaults;
  const Fields fields = defaults.fields();
  for (const auto& [name, text] : given_) {
    const Field& field = fields.at(name);
    if (!field.info.may_change && name != "out") all[name] = field_text(field, text);
  }
  if (method_given()) all["method"] = method_.name;
  for (const auto& [name, text] : method_.values) all[name] = to_string(parse_flag(*find_option(name), text));
  return all;
}

void TrainFlags::take(const Settings& kept, const std::string& origin, bool same) {
  const Settings own = settings();
  std::vector<std::string> differing;
  for (const auto& [name, value] : own) {
    const auto before = kept.find(name);
    if (name == "epochs" || (before != kept.end() && before->second == value)) continue;
    differing.push_back(before == kept.end()
                            ? fmt::format("{}: begun without it, asked for is '{}'", flag_name(name), value)
                            : fmt::format("{}: begun with '{}', asked for is '{}'", flag_name(name), before->second, value));
  }
  if (same && !differing.empty())
    throw std::invalid_argument(fmt::format("cannot resume what {} began: {}", origin, text::join(differing, "; ")));
  std::vector<std::pair<std::string, std::string>> fields;
  runs::TrainConfig defaults;
  const Fields known = defaults.fields();
  for (const auto& [name, value] : kept) {
    if (own.contains(name)) continue;
    if (name == "method") {
      method_.name = value;
      method_taken_ = true;
    } else if (known.find(name) != nullptr) {
      fields.emplace_back(name, value);
    } else if (find_option(name) != nullptr) {
      method_.values[name] = value;
    } else {
      throw std::invalid_argument(fmt::format("{}: unknown setting '{}'", origin, name));
    }
  }
  given_.insert(given_.begin(), fields.begin(), fields.end());
}

runs::TrainConfig TrainFlags::make_config(int threads, const TomlDocument& file,
                                          const std::vector<std::pair<std::string, std::string>>& fixed) const {
  auto settings = given_;
  settings.insert(settings.end(), fixed.begin(), fixed.end());
  std::optional<runs::TrainConfig> started;
  if (resume_) {
    const auto out = last_of(settings, "out");
    if (!out) throw std::invalid_argument("--resume needs --out");
    started = runs::started_config(*out);
  }
  runs::TrainConfig config = started.value_or(runs::TrainConfig());
  if (const auto name = last_of(settings, "recipe"); name && !name->empty()) {
    const auto recipe = runs::find_recipe(*name, recipe_directory());
    if (!started) config = runs::apply_recipe(recipe, config);
    settings.emplace_back("recipe", recipe.name);
  }
  if (resume_ && !started && config.model.empty() && given("model").empty())
    throw std::invalid_argument(fmt::format("--resume: {} holds no run; to begin one, give --model", *last_of(settings, "out")));
  check_file(file, config);
  for (const auto& [name, text] : settings) set(config, name, text);
  if (threads > 0) config.threads = threads;
  apply_method(config);
  config = runs::resolve(config);
  if (started) runs::check_continues(*started, config);
  return config;
}

bool TrainFlags::note_protocol(const runs::TrainConfig& config) const {
  if (config.protocol != "paper" || config.recipe.empty() || !given("protocol").empty()) return false;
  if (resume_ && runs::started_config(config.out)) return false;
  note(fmt::format("protocol paper, by recipe {}: the epoch is chosen on the TEST split; --protocol honest chooses it on val",
                   config.recipe));
  return true;
}

bool TrainFlags::method_given() const {
  return method_taken_ || app_->count("--method") > 0;
}

void TrainFlags::apply_method(runs::TrainConfig& config) const {
  if (method_given()) {
    if (method_.name != config.method) config.method_options.clear();
    config.method = method_.name;
  }
  if (config.method.empty()) return;  // `resolve` says so
  for (const auto& [name, value] : method_.options(config.method)) config.method_options[name] = value;
}

/// Checks the types and ranges of the `--config` file's settings: the errors name the line.
void TrainFlags::check_file(TomlDocument file, runs::TrainConfig defaults) const {
  const Fields fields = defaults.fields();
  std::erase_if(file.entries, [&](const TomlEntry& entry) {  // e.g. `json`, which is a flag alone
    return fields.find(entry.name) == nullptr && find_option(entry.name) == nullptr;
  });
  if (method_given()) defaults.method = method_.name;
  runs::read_config(file, defaults);
}

}  // namespace respeft::cli
