#include "src/cli/train_flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <respeft/methods/method.h>
#include <respeft/train/recipe.h>
#include <respeft/train/run.h>

#include "src/cli/recipes.h"

namespace respeft::cli {
namespace {

/// The last value of a field in a list, if there is one.
std::optional<std::string> last_of(const std::vector<std::pair<std::string, std::string>>& list, const std::string& field) {
  const auto found = std::find_if(list.rbegin(), list.rend(), [&](const auto& entry) { return entry.first == field; });
  return found == list.rend() ? std::nullopt : std::optional(found->second);
}

}  // namespace

void TrainFlags::declare(CLI::App& app, std::vector<std::string> without) {
  app_ = &app;
  without.push_back("threads");  // every command has it
  const train::TrainConfig defaults;
  const auto texts = train::describe(defaults);
  size_t index = 0;
  train::visit_fields(defaults, [&](const train::FieldInfo& info, const auto& value) {
    const std::string name = info.name, text = texts[index++].second;
    if (std::find(without.begin(), without.end(), name) != without.end()) return;
    if (name == "method") return method_.declare(app, text);
    declare_field(info, value, text);
  });
  app.add_flag("--resume", resume_, "go on with what is in --out from the last checkpoint")->group("Run");
}

template <class T>
void TrainFlags::declare_field(const train::FieldInfo& info, const T& value, const std::string& text) {
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

train::TrainConfig TrainFlags::make_config(int threads, const std::vector<std::pair<std::string, std::string>>& fixed) const {
  auto settings = given_;
  settings.insert(settings.end(), fixed.begin(), fixed.end());
  std::optional<train::TrainConfig> started;
  if (resume_) {
    const auto out = last_of(settings, "out");
    if (!out) throw std::invalid_argument("--resume needs --out");
    started = train::started_config(*out);
  }
  train::TrainConfig config = started.value_or(train::TrainConfig());
  if (const auto name = last_of(settings, "recipe"); name && !name->empty()) {
    const auto recipe = train::find_recipe(*name, recipe_directory());
    if (!started) config = train::apply_recipe(recipe, config);
    settings.emplace_back("recipe", recipe.name);
  }
  check_config_file(config);
  for (const auto& [name, text] : settings) {
    try {
      train::set_field(config, name, text);
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(flag_name(name) + std::string(error.what()).substr(name.size()));  // "lr: …" -> "--lr: …"
    }
  }
  if (threads > 0) config.threads = threads;
  apply_method(config);
  config = train::resolve(config);
  if (started) train::check_continues(*started, config);
  return config;
}

void TrainFlags::apply_method(train::TrainConfig& config) const {
  if (app_->count("--method") > 0) {
    if (method_.name != config.method) config.method_options.clear();
    config.method = method_.name;
  }
  for (const auto& [name, value] : method_.options(config.method)) config.method_options[name] = value;
}

/// Checks the `--config` file by itself first: its errors name the line.
void TrainFlags::check_config_file(train::TrainConfig defaults) const {
  const std::string path = app_->get_config_ptr()->count() > 0 ? app_->get_config_ptr()->as<std::string>() : "";
  if (path.empty()) return;
  if (app_->count("--method") > 0) defaults.method = method_.name;
  train::read_config(path, defaults);
}

}  // namespace respeft::cli
