#pragma once

#include <CLI/App.hpp>

#include <cstdint>
#include <string>

#include <respeft/data/image/dataset.h>
#include <respeft/runs/load.h>

namespace respeft::cli {

/// Which labeled images a command measures on.
struct DataFlags {
  std::string data;  ///< `KIND:PATH`; empty: not given
  std::string split = "test";
  std::string shares;  ///< by which a folder of classes is split; empty: not given
  int64_t limit = 0;   ///< only so many, drawn evenly from the classes; 0: all
  int64_t workers = 2;

  void declare(CLI::App& app, const std::string& limit_flag, const std::string& limit_help);
  /// Throws `std::invalid_argument` naming the flag and the fault.
  void check() const;
  /// Opens the data that were given, or else the run's. Throws `std::invalid_argument` when neither says.
  data::DatasetPtr open(const runs::LoadedRun& run) const;
};

}  // namespace respeft::cli
