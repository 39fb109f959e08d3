#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/fingerprint.h>
#include <respeft/data/image/options.h>
#include <respeft/data/source.h>
#include <respeft/tasks/task.h>

namespace respeft::tasks {

/// The data of a run, and how to open and split them.
struct DataOptions {
  std::string data;                   ///< `KIND:PATH`
  data::DatasetOptions dataset = {};  ///< how to open them
  std::string train_split;            ///< empty: trainval if it exists and val is not used for choices, otherwise train
  bool val = false;                   ///< open the validation split
  bool test = true;                   ///< open the test split
  int64_t train_samples = 0;
  int64_t test_samples = 0;
  int64_t seed = 42;       ///< of the subset that `train_samples` draws
  int64_t image_size = 0;  ///< pixels per side of the model's input
  data::ImageOptions image;
};

/// A task and its data: everything that training needs besides a model.
struct Assignment {
  std::shared_ptr<const Task> task;
  std::string train_split;  ///< the one that was opened
  std::shared_ptr<const data::Source> train;
  std::shared_ptr<const data::Source> val;   ///< null unless asked for
  std::shared_ptr<const data::Source> test;  ///< null unless asked for
  int64_t outputs = 0;                       ///< rows of the head, e.g. classes
  std::vector<std::string> class_names;      ///< may be empty
  data::DataFingerprint fingerprint;         ///< identifies the data, to detect changes on resuming
  /// True if a training example is the same in every epoch: neither augmented nor mixed.
  bool fixed_inputs = false;
};

/// A registered task.
struct Entry {
  std::string name;
  std::string summary;  ///< one line
  /// Opens the data. Throws `std::invalid_argument` if the options request something that does not exist, `std::runtime_error`
  /// that names the file and the fault if the data are invalid.
  std::function<Assignment(const DataOptions&)> open;
};

/// Every task, in the order of the documentation. A new task is one header, one source file and one line here.
const std::vector<Entry>& registry();
/// The entry of that name. Throws `std::invalid_argument` that suggests a similar name.
const Entry& find(const std::string& name);

}  // namespace respeft::tasks
