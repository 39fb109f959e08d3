#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace respeft::cli {

/// What a finished run says about its model and data.
struct RunDirectory {
  std::string config, adapter;  ///< paths of its `config.toml` and `adapter.safetensors`
  std::string model, weights, pool, data;
  std::string split;  ///< the shares that the data were split by; empty: they have splits
  std::optional<int64_t> image_size;
};

/// Reads `config.toml` of a finished run. Throws `std::runtime_error` naming the file and the fault, also when the run has
/// not finished.
RunDirectory read_run(const std::string& directory);

}  // namespace respeft::cli
