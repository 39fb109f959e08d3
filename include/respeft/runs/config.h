#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/fields.h>
#include <respeft/core/options.h>
#include <respeft/core/toml.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/options.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/train/options.h>

namespace respeft::runs {

/// Everything that determines a training run. `fields()` lists every member but `method_options`: the flags, the TOML file, the
/// printed table and the saved copy are made from it.
struct TrainConfig : data::ImageOptions, train::TrainerOptions {
  std::string recipe;
  std::string task = "image-classification";
  std::string model;
  std::string weights;
  std::string state_dict;  ///< one of several in the weights file
  int64_t image_size = 0;
  std::string pool;
  double drop_path = 0.0;
  double branch_dropout = 0.0;

  std::string data;
  std::string split;
  int64_t train_samples = 0;
  int64_t test_samples = 0;

  std::string method = "rlrr";
  Options method_options;  ///< the method's own; a missing one has its default. The table `[method_options]` in a file
  bool zero_head = true;
  std::string out;

  std::string train_split;
  std::string seeds;
  std::string grid;
  int64_t threads = 0;

  bool operator==(const TrainConfig&) const = default;

  /// Those of the images and the trainer included.
  Fields fields();

  data::DatasetOptions dataset_options() const { return {split}; }
  data::Preprocessing preprocessing() const { return {mean, std, image_size, interpolation, resize_size, resize_mode}; }
};

/// Sets a field from text, e.g. a flag's. Throws `std::invalid_argument` on an unknown name or a value out of range.
void set_field(TrainConfig& config, const std::string& name, const std::string& text);

/// Reads a document over `defaults`: the fields' names as keys, and the method's options.
/// Throws `std::invalid_argument` with origin, line and key, and a suggestion for an unknown key.
TrainConfig read_config(const TomlDocument& document, TrainConfig defaults = {});
/// The same, from a TOML text.
TrainConfig parse_config(const std::string& toml, const std::string& origin, TrainConfig defaults = {});
/// The same, from a file. Throws `std::runtime_error` if it cannot be read.
TrainConfig read_config(const std::string& path, TrainConfig defaults = {});

/// Every field with its help as a comment; `parse_config` reads it back equal.
std::string to_toml(const TrainConfig& config);

/// Every field's name and value, the method's options after it.
std::vector<std::pair<std::string, std::string>> describe(const TrainConfig& config);

/// Checks every range and the rules between fields, replaces "the model's own" and "a tenth" by their values, fills in the
/// method's options, and makes paths absolute. Throws `std::invalid_argument`.
TrainConfig resolve(TrainConfig config);

/// One line for each field in which `asked` prevents continuing a run started as `started` (both resolved).
std::vector<std::string> conflicts(const TrainConfig& started, const TrainConfig& asked);

}  // namespace respeft::runs
