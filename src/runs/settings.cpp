#include <respeft/runs/settings.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/methods/method.h>
#include <respeft/models/weights_check.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/run.h>

namespace respeft::runs {
namespace {

/// A mean or standard deviation that nothing has set.
constexpr std::array<double, 3> kUnset = {std::numeric_limits<double>::quiet_NaN(), 0.0, 0.0};

bool is_unset(const std::array<double, 3>& channels) {
  return std::isnan(channels[0]);
}

std::string called(const ConfigSources& sources, const std::string& name) {
  return sources.called ? sources.called(name) : name;
}

/// Runs `set`; its fault is said to be of the setting.
template <class Set>
auto naming(const ConfigSources& sources, const std::string& name, const Set& set) {
  try {
    return set();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("{}: {}", called(sources, name), error.what()));
  }
}

/// The value that `text` gives an option, whose default stays as it is.
template <class Use>
auto with_option(const Field& option, const std::string& text, const Use& use) {
  return std::visit(
      [&](const auto* value) {
        auto copy = *value;
        const Field field{option.info, &copy};
        field.set(text);
        return use(field);
      },
      option.member);
}

/// The option of this name of any method, by the first that has one; null where none has.
const Field* option_of_any_method(const std::string& name) {
  for (const auto& entry : methods::registry()) {
    if (const Field* option = entry.options.find(name)) return option;
  }
  return nullptr;
}

void set_option(TrainConfig& config, const std::string& name, const std::string& text, const ConfigSources& sources) {
  const auto& entry = methods::find(config.method);
  const Field* option = entry.options.find(name);
  if (option == nullptr) {
    std::vector<std::string> known;
    for (const auto& one : entry.options.names()) known.push_back(called(sources, one));
    throw std::invalid_argument(fmt::format("method {} has no option {}; {}", config.method, called(sources, name),
                                            known.empty() ? "it has none" : "it has " + text::join(known, ", ")));
  }
  config.method_options[name] =
      naming(sources, name, [&] { return with_option(*option, text, [](const Field& field) { return field.value(); }); });
}

void choose_method(TrainConfig& config, const std::string& method) {
  if (method.empty() || method == config.method) return;
  config.method_options.clear();  // of another method
  config.method = method;
}

void apply_file(TrainConfig& config, const TomlDocument& document, const std::string& method) {
  const TomlEntry* own = document.find("method");
  choose_method(config, !method.empty() ? method : own != nullptr ? own->text() : "");
  const Options options = config.method_options;
  config = read_config(document, config);
  if (method.empty() || config.method == method) return;
  config.method = method;  // the file's options are of another method
  config.method_options = options;
}

void apply_settings(TrainConfig& config, const ConfigSources& sources) {
  Fields fields = config.fields();
  choose_method(config, setting(sources.settings, "method"));
  for (const auto& [name, text] : sources.settings) {
    if (name == "method") continue;
    if (const Field* field = fields.find(name)) naming(sources, name, [&, &value = text] { field->set(value); });
  }
  if (config.method.empty()) return;  // `resolve` says so
  for (const auto& [name, text] : sources.settings) {
    if (fields.find(name) == nullptr) set_option(config, name, text, sources);
  }
}

/// Where nothing says what images are normalized with: as the weights were trained, as far as that is known.
void settle_normalization(TrainConfig& config, const ConfigSources& sources) {
  const auto note = [&](const std::string& line) {
    if (sources.note) sources.note(line);
  };
  const bool open = is_unset(config.mean) || is_unset(config.std);
  std::optional<models::Normalization> known;
  if (!config.weights.empty() && std::filesystem::exists(config.weights))
    known = models::known_normalization(config.weights, config.model, config.state_dict);
  const TrainConfig defaults;
  if (is_unset(config.mean)) config.mean = known ? known->mean : defaults.mean;
  if (is_unset(config.std)) config.std = known ? known->std : defaults.std;
  if (!known) return;
  const std::string mismatch = models::normalization_mismatch(*known, config.preprocessing());
  if (!mismatch.empty()) return note(mismatch);
  if (open) {
    note(fmt::format("images are normalized with mean {} and std {}, as the weights were trained ({})",
                     models::channels_text(known->mean), models::channels_text(known->std), known->source));
  }
}

}  // namespace

std::string setting(const Settings& settings, const std::string& name) {
  const auto found = std::find_if(settings.rbegin(), settings.rend(), [&](const auto& entry) { return entry.first == name; });
  return found == settings.rend() ? "" : found->second;
}

TrainConfig make_config(const ConfigSources& sources) {
  std::optional<TrainConfig> started;
  const std::string out = setting(sources.settings, "out");
  if (sources.resume) {
    if (out.empty()) throw std::invalid_argument(called(sources, "resume") + " needs " + called(sources, "out"));
    started = started_config(out);
  }
  const TomlDocument& file = sources.file;
  TrainConfig config = started.value_or(TrainConfig());
  if (!started) config.mean = config.std = kUnset;
  std::string recipe_name = setting(sources.settings, "recipe");
  if (recipe_name.empty() && file.find("recipe") != nullptr) recipe_name = file.find("recipe")->text();
  if (!recipe_name.empty()) {
    const Recipe recipe = find_recipe(recipe_name, sources.recipes);
    if (!started) config = apply_recipe(recipe, config);
    recipe_name = recipe.name;
  }
  if (sources.resume && !started && config.model.empty() && setting(sources.settings, "model").empty())
    throw std::invalid_argument(
        fmt::format("{}: {} holds no run; to begin one, give {}", called(sources, "resume"), out, called(sources, "model")));
  if (!file.entries.empty()) apply_file(config, file, setting(sources.settings, "method"));
  apply_settings(config, sources);
  if (!recipe_name.empty()) config.recipe = recipe_name;
  if (!started) settle_normalization(config, sources);
  config = resolve(config);
  if (started) check_continues(*started, config);
  return config;
}

std::map<std::string, std::string> canonical(const Settings& settings, const ConfigSources& sources) {
  TrainConfig config;
  Fields fields = config.fields();
  std::map<std::string, std::string> all;
  for (const auto& [name, text] : settings) {
    const Field* field = fields.find(name);
    if (field != nullptr && (field->info.may_change || name == "out")) continue;
    const Field* option = field == nullptr ? option_of_any_method(name) : nullptr;
    if (field == nullptr && option == nullptr) throw std::invalid_argument("unknown setting " + called(sources, name));
    all[name] = naming(sources, name, [&, &value = text] {
      if (option != nullptr) return with_option(*option, value, [](const Field& one) { return one.text(); });
      if (field->info.path && !value.empty()) return std::filesystem::absolute(value).lexically_normal().string();
      field->set(value);
      return field->text();
    });
  }
  return all;
}

Settings continued(const Settings& settings, const std::map<std::string, std::string>& begun, const std::string& origin,
                   bool same, const ConfigSources& sources) {
  const auto own = canonical(settings, sources);
  std::vector<std::string> differing;
  for (const auto& [name, value] : own) {
    const auto before = begun.find(name);
    if (name == "epochs" || (before != begun.end() && before->second == value)) continue;
    differing.push_back(
        before == begun.end()
            ? fmt::format("{}: begun without it, asked for is '{}'", called(sources, name), value)
            : fmt::format("{}: begun with '{}', asked for is '{}'", called(sources, name), before->second, value));
  }
  if (same && !differing.empty())
    throw std::invalid_argument(fmt::format("cannot resume what {} began: {}", origin, text::join(differing, "; ")));
  Settings all;
  TrainConfig config;
  const Fields fields = config.fields();
  for (const auto& [name, value] : begun) {
    if (fields.find(name) == nullptr && option_of_any_method(name) == nullptr)
      throw std::invalid_argument(fmt::format("{}: unknown setting '{}'", origin, name));
    if (!own.contains(name)) all.emplace_back(name, value);
  }
  all.insert(all.end(), settings.begin(), settings.end());
  return all;
}

}  // namespace respeft::runs
