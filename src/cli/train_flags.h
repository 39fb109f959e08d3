#pragma once

#include <CLI/App.hpp>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/config.h>

#include "src/cli/flags.h"

namespace respeft::cli {

/// Settings by name, as text: fields of `TrainConfig` and the methods' options.
using Settings = std::map<std::string, std::string>;

/// The settings of training: every field of `TrainConfig` is a flag, the methods' options too, and `--resume`.
class TrainFlags {
 public:
  /// All flags but those of the fields `without`.
  void declare(CLI::App& app, std::vector<std::string> without = {});

  bool resume() const { return resume_; }
  /// The value given for a field, as text; empty where none was.
  std::string given(const std::string& field) const;
  /// All that was given and decides what is trained, each value in one spelling, paths absolute; not `out`, threads and workers.
  /// Throws `std::invalid_argument` naming the flag and the fault.
  Settings settings() const;
  /// Takes what was given when the work in file `origin` was begun, where it is not given now. Throws `std::invalid_argument`
  /// naming each setting that differs, if `same` is asked for; the epochs may.
  void take(const Settings& kept, const std::string& origin, bool same);

  /// The resolved configuration: the defaults, over them the recipe, the `--config` file `file`, the flags, and last `fixed`
  /// (fields by name, as text). With `--resume`, what the run in `out` was started with takes the place of defaults and recipe,
  /// and may not be changed. Throws `std::invalid_argument` naming the flag and the fault.
  runs::TrainConfig make_config(int threads, const TomlDocument& file,
                                const std::vector<std::pair<std::string, std::string>>& fixed = {}) const;

  /// Says on stderr that the recipe of a run to be begun chooses by the test split, unless that was asked for; whether it did.
  bool note_protocol(const runs::TrainConfig& config) const;

 private:
  void declare_field(const Field& field);
  bool method_given() const;
  void apply_method(runs::TrainConfig& config) const;
  void check_file(TomlDocument file, runs::TrainConfig defaults) const;

  CLI::App* app_ = nullptr;
  std::vector<std::pair<std::string, std::string>> given_;  ///< fields by name, as text
  MethodFlags method_;
  bool method_taken_ = false;  ///< by `take`
  bool resume_ = false;
};

}  // namespace respeft::cli
