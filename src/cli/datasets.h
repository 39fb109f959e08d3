#pragma once

#include <CLI/App.hpp>

#include <cstdint>
#include <string>

#include <respeft/data/image/dataset.h>

#include "src/cli/loading.h"

namespace respeft::cli {

/// Which labelled images a command measures on.
struct DataFlags {
  std::string data;  ///< `KIND:PATH`; empty: not given
  std::string split = "test";
  std::string shares;  ///< by which a folder of classes is split; empty: not given
  int64_t limit = 0;   ///< only the first so many; 0: all
  int64_t workers = 2;

  void declare(CLI::App& app, const std::string& limit_flag, const std::string& limit_help);
  /// The data that were given, or else the run's. Throws `std::invalid_argument` with `missing` when neither says.
  std::string spec(const LoadedModel& model, const std::string& missing = "which images? Give --data KIND:PATH") const;
  /// How they are opened: as in the run, where they are the run's.
  data::DatasetOptions options(const LoadedModel& model) const;
  /// Opens the data that were given, or else the run's. Throws `std::invalid_argument` when neither says, and when the
  /// classes are not the model's.
  data::DatasetPtr open(const LoadedModel& model) const;
};

}  // namespace respeft::cli
