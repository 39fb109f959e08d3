#pragma once

#include <map>
#include <optional>
#include <string>

namespace respeft::runs {

/// The settings that a suite was begun with, kept as `suite.toml` among its runs, so that datasets begun later have the same
/// settings.
struct SuiteFile {
  std::string benchmark;
  std::string datasets;  ///< with commas between; empty: all that are there
  std::string recipes;   ///< `NAME/BENCHMARK`, an absolute folder of TOML files, or `none`
  std::map<std::string, std::string> settings;
};

/// Nothing where there is no file. Throws `std::invalid_argument` with path, line and key, `std::runtime_error` if it cannot be
/// read.
std::optional<SuiteFile> read_suite_file(const std::string& path);

void write_suite_file(const std::string& path, const SuiteFile& file);

}  // namespace respeft::runs
