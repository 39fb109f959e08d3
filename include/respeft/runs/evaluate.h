#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/runs/load.h>

namespace respeft::runs {

/// How a model does on one class.
struct ClassFigures {
  std::string name;
  int64_t images = 0, correct = 0;

  /// Nothing if there is no image of this class.
  std::optional<double> accuracy() const;
};

/// How a model does on a dataset.
struct Figures {
  std::string data;  ///< the dataset's description
  int64_t images = 0, correct = 0;
  double loss = 0.0;  ///< mean cross-entropy
  std::vector<ClassFigures> classes;
  double seconds = 0.0;
  /// Rate after the first batch, which includes start-up; nothing if there is only one batch.
  std::optional<double> images_per_second;

  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(images); }
};

struct EvaluateOptions {
  int64_t batch_size = 32;
  int64_t workers = 2;  ///< threads that decode images
  /// Called after each batch.
  std::function<void(int64_t images, double accuracy)> progress = nullptr;
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted` soon after this becomes true
};

/// Evaluates a model on labeled images:
///
///     const auto run = respeft::runs::load_run("runs/flowers");
///     const auto test = respeft::data::open_dataset("imagefolder:flowers", respeft::data::Split::test);
///     const auto figures = respeft::runs::evaluate(run, test);  // .accuracy(), .loss, .classes
///
/// Throws `std::invalid_argument` if the data's classes are not the model's, and `std::runtime_error` on an image that cannot
/// be read, if there are no images, and if the loss is not finite.
Figures evaluate(const LoadedRun& run, const data::DatasetPtr& dataset, const EvaluateOptions& options = {});

}  // namespace respeft::runs
