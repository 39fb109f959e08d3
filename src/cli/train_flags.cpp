#include "src/cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <stdexcept>

#include <respeft/methods/method.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/run.h>

#include "src/cli/output.h"
#include "src/cli/recipes.h"
#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

/// The last value of a field in a list, if there is one.
std::optional<std::string> last_of(const std::vector<std::pair<std::string, std::string>>& list, const std::string& field) {
  const auto found = std::find_if(list.rbegin(), list.rend(), [&](const auto& entry) { return entry.first == field; });
  return found == list.rend() ? std::nullopt : std::optional(found->second);
}

void set(runs::TrainConfig& config, const std::string& name, const std::string& text) {
  try {
    runs::set_field(config, name, text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(flag_name(name) + std::string(error.what()).substr(name.size()));  // "lr: …" -> "--lr: …"
  }
}

/// The field as it is listed; nothing where there is none of this name.
std::optional<runs::FieldInfo> find_field(const std::string& name) {
  std::optional<runs::FieldInfo> found;
  const runs::TrainConfig defaults;
  runs::visit_fields(defaults, [&](const runs::FieldInfo& info, const auto&) {
    if (name == info.name) found = info;
  });
  return found;
}

/// A field's value as `describe` writes it, a path absolute.
std::string field_text(const runs::FieldInfo& field, const std::string& text) {
  if (field.path && !text.empty()) return std::filesystem::absolute(text).lexically_normal().string();
  runs::TrainConfig config;
  set(config, field.name, text);
  for (const auto& [name, value] : runs::describe(config)) {
    if (name == field.name) return value;
  }
  return text;
}

/// The default of an option, by the first method that has one of this name; nothing where none has.
std::optional<OptionValue> find_option(const std::string& name) {
  for (const auto& entry : methods::registry()) {
    for (const auto& option : entry.options) {
      if (option.name == name) return option.default_value;
    }
  }
  return std::nullopt;
}

}  // namespace

void TrainFlags::declare(CLI::App& app, std::vector<std::string> without) {
  app_ = &app;
  without.push_back("threads");  // every command has it
  const runs::TrainConfig defaults;
  const auto texts = runs::describe(defaults);
  size_t index = 0;
  runs::visit_fields(defaults, [&](const runs::FieldInfo& info, const auto& value) {
    const std::string name = info.name, text = texts[index++].second;
    if (std::find(without.begin(), without.end(), name) != without.end()) return;
    if (name == "method") return method_.declare(app, text);
    declare_field(info, value, text);
  });
  app.add_flag("--resume", resume_, "go on with what is in --out from the last checkpoint")->group("Run");
}

template <class T>
void TrainFlags::declare_field(const runs::FieldInfo& info, const T& value, const std::string& text) {
  const std::string name = info.name, flag = flag_name(name);
  if constexpr (std::is_same_v<T, bool>) {
    const auto keep = [this, name](int64_t count) { given_.emplace_back(name, count > 0 ? "true" : "false"); };
    app_->add_flag_function(flag, keep, info.help + std::string(value ? "; on unless " + flag + "=false" : ""))
        ->group(info.group);
  } else {
    const auto keep = [this, name](const std::string& given) { given_.emplace_back(name, given); };
    const char* type = std::is_same_v<T, std::string> ? "TEXT"
                       : std::is_same_v<T, int64_t>   ? "N"
                       : std::is_same_v<T, double>    ? "X"
                                                      : "R,G,B";
    auto* option = app_->add_option_function<std::string>(flag, keep, info.help)->type_name(type)->group(info.group);
    if (!text.empty()) option->default_str(text);
  }
}

std::string TrainFlags::given(const std::string& field) const {
  return last_of(given_, field).value_or("");
}

Settings TrainFlags::settings() const {
  Settings all;
  for (const auto& [name, text] : given_) {
    const auto field = find_field(name);
    if (!field->may_change && name != "out") all[name] = field_text(*field, text);
  }
  if (method_given()) all["method"] = method_.name;
  for (const auto& [name, text] : method_.values) all[name] = to_string(parse_value(flag_name(name), text, *find_option(name)));
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
  for (const auto& [name, value] : kept) {
    if (own.contains(name)) continue;
    if (name == "method") {
      method_.name = value;
      method_taken_ = true;
    } else if (find_field(name)) {
      fields.emplace_back(name, value);
    } else if (find_option(name)) {
      method_.values[name] = value;
    } else {
      throw std::invalid_argument(fmt::format("{}: unknown setting '{}'", origin, name));
    }
  }
  given_.insert(given_.begin(), fields.begin(), fields.end());
}

runs::TrainConfig TrainFlags::make_config(int threads, const std::vector<std::pair<std::string, std::string>>& fixed) const {
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
  check_config_file(config);
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

/// Checks the `--config` file by itself first: its errors name the line.
void TrainFlags::check_config_file(runs::TrainConfig defaults) const {
  const std::string path = app_->get_config_ptr()->count() > 0 ? app_->get_config_ptr()->as<std::string>() : "";
  if (path.empty()) return;
  if (method_given()) defaults.method = method_.name;
  runs::read_config(path, defaults);
}

}  // namespace respeft::cli
