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

/// The last value of a setting; empty where there is none.
std::string setting(const Settings& settings, const std::string& name);

/// Where the settings of a run come from, each over the one before it.
struct ConfigSources {
  std::string recipes;  ///< folder of the recipes that are named; empty: `recipe_directory()`
  TomlDocument file;    ///< over the recipe that it or `settings` names
  Settings settings;    ///< over all of them
  /// What `settings["out"]` was started with takes the place of defaults and recipe, and may not be changed.
  bool resume = false;
  /// How a setting is called in errors, e.g. `--batch-size`; null: by its name.
  std::function<std::string(const std::string& name)> called = nullptr;
  std::function<void(const std::string& line)> note = nullptr;
};

/// The resolved configuration. Where neither recipe, file nor settings say what images are normalized with, it is as the weights
/// were trained, as far as that is known; `note` says so, and also where they say something else.
/// Throws `std::invalid_argument` naming the setting and the fault, `std::runtime_error` on files that cannot be read.
TrainConfig make_config(const ConfigSources& sources);

/// The settings that decide what is trained, each in one spelling, with absolute paths: not `out`, and none that may change when
/// a run is resumed. Throws `std::invalid_argument` naming the setting and the fault.
std::map<std::string, std::string> canonical(const Settings& settings, const ConfigSources& sources);

/// `settings` with those that work in file `origin` was begun with and that are not given now. Throws `std::invalid_argument` on
/// an unknown setting, and, if `same` is asked for, naming each setting that differs; the epochs may.
Settings continued(const Settings& settings, const std::map<std::string, std::string>& begun, const std::string& origin,
                   bool same, const ConfigSources& sources);

}  // namespace respeft::runs
