#pragma once

#include <CLI/App.hpp>

#include <string>
#include <utility>
#include <vector>

#include <respeft/train/config.h>

#include "src/cli/flags.h"

namespace respeft::cli {

/// The settings of training: every field of `TrainConfig` is a flag, the methods' options too, and `--resume`.
class TrainFlags {
 public:
  /// All flags but those of the fields `without`.
  void declare(CLI::App& app, std::vector<std::string> without = {});

  bool resume() const { return resume_; }
  /// The value given for a field, as text; empty where none was.
  std::string given(const std::string& field) const;

  /// The resolved configuration: the defaults, over them the recipe, the `--config` file, the flags, and last `fixed` (fields by
  /// name, as text). With `--resume`, what the run in `out` was started with takes the place of defaults and recipe, and may not be
  /// changed. Throws `std::invalid_argument` naming the flag and the fault.
  train::TrainConfig make_config(int threads, const std::vector<std::pair<std::string, std::string>>& fixed = {}) const;

 private:
  template <class T>
  void declare_field(const train::FieldInfo& info, const T& value, const std::string& text);
  void apply_method(train::TrainConfig& config) const;
  void check_config_file(train::TrainConfig defaults) const;

  CLI::App* app_ = nullptr;
  std::vector<std::pair<std::string, std::string>> given_;  ///< fields by name, as text
  MethodFlags method_;
  bool resume_ = false;
};

}  // namespace respeft::cli
