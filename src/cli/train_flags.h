#pragma once

#include <CLI/App.hpp>

#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/settings.h>

#include "src/cli/flags.h"

namespace respeft::cli {

/// The settings of training: every field of `TrainConfig` is a flag, the methods' options too, and `--resume`.
class TrainFlags {
 public:
  /// All flags but those of the fields `without`.
  void declare(CLI::App& app, std::vector<std::string> without = {});

  bool resume() const { return resume_; }
  /// The value given for a field, as text; empty where none was.
  std::string given(const std::string& field) const { return runs::setting(given_, field); }

  /// What a configuration is made from: the flags over the `--config` file `file`. Errors call settings by their flags, notes go
  /// to stderr.
  runs::ConfigSources sources(int threads, const TomlDocument& file) const;
  /// The resolved configuration. Throws as `runs::make_config`.
  runs::TrainConfig make_config(int threads, const TomlDocument& file) const { return runs::make_config(sources(threads, file)); }

  /// Says on stderr that the recipe of a run to be begun chooses by the test split, unless that was asked for; whether it did.
  bool note_protocol(const runs::TrainConfig& config) const;

 private:
  void declare_field(const Field& field);

  CLI::App* app_ = nullptr;
  runs::Settings given_;  ///< fields by name, as text
  MethodFlags method_;
  bool resume_ = false;
};

}  // namespace respeft::cli
