#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/config.h>

// Configurations made from settings by name: those of a recipe, of a file, and of a command line.
namespace respeft::runs {

/// Fields of `TrainConfig` and options of methods by name, with values as text. Of several of one name the last counts.
using Settings = std::vector<std::pair<std::string, std::string>>;

/// The last value of a setting; empty if there is none.
std::string setting(const Settings& settings, const std::string& name);

/// Where the settings of a run come from, each over the one before it.
struct ConfigSources {
  std::string recipes;  ///< folder of the recipes that are named; empty: `recipe_directory()`
  TomlDocument file;    ///< over the recipe that it or `settings` names
  Settings settings;    ///< over all of them
  /// The settings that `settings["out"]` was started with replace the defaults and the recipe, and must not change.
  bool resume = false;
  /// How a setting is called in errors, e.g. `--batch-size`; null: by its name.
  std::function<std::string(const std::string& name)> called = nullptr;
  std::function<void(const std::string& line)> note = nullptr;
};

/// The resolved configuration. If neither recipe, file nor settings give the normalization, it is that of the weights, if
/// known; `note` is called then, and also if the settings differ from it. Throws `std::invalid_argument` that names the setting
/// and the fault, `std::runtime_error` on files that cannot be read.
TrainConfig make_config(const ConfigSources& sources);

/// The settings that determine the training, in one spelling and with absolute paths, without `out` and those that may change
/// on resuming. Throws `std::invalid_argument` that names the setting and the fault.
std::map<std::string, std::string> canonical(const Settings& settings, const ConfigSources& sources);

/// `settings` completed by those in file `origin` from the start of the work. Throws `std::invalid_argument` on an unknown
/// setting and, if `same`, that names each setting that differs, except the epochs.
Settings continued(const Settings& settings, const std::map<std::string, std::string>& begun, const std::string& origin,
                   bool same, const ConfigSources& sources);

}  // namespace respeft::runs
