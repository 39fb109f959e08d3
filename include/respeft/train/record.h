#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace respeft::train {

/// Figures by name, in the order they are shown: a task's `loss`, `accuracy`, …
class MetricValues {
 public:
  MetricValues() = default;
  MetricValues(std::vector<std::pair<std::string, double>> values) : values_(std::move(values)) {}

  /// Throws `std::out_of_range` that names a missing figure.
  double at(const std::string& name) const;
  bool contains(const std::string& name) const;
  const std::vector<std::pair<std::string, double>>& values() const { return values_; }

  bool operator==(const MetricValues&) const = default;

 private:
  std::vector<std::pair<std::string, double>> values_;
};

/// The figures of one split.
struct Evaluation {
  std::string split;
  std::string unit = "examples";  ///< the examples' name, e.g. `images`
  int64_t examples = 0;
  MetricValues metrics;  ///< without regularization such as label smoothing
  double seconds = 0.0;

  bool operator==(const Evaluation&) const = default;
};

/// A line of `metrics.jsonl`: an epoch, or an evaluation inside one.
struct EpochRecord {
  int64_t epoch = 0;  ///< from 1
  int64_t step = 0;   ///< of an evaluation inside the epoch: the steps of the whole training before it; 0: the epoch has ended
  double lr = 0.0;
  MetricValues train;    ///< over the epoch's examples so far, as trained: with label smoothing, dropout and mixed labels
  double seconds = 0.0;  ///< of training
  double data_wait_seconds = 0.0;
  std::optional<Evaluation> evaluation;

  bool operator==(const EpochRecord&) const = default;
};

/// The position of a run.
struct RunProgress {
  int64_t epochs = 0;       ///< that are trained
  int64_t steps = 0;        ///< of the whole training
  int64_t epoch_steps = 0;  ///< of the epoch that is not at its end
  double seconds = 0.0;     ///< of everything: setting up, training, evaluation, writing; 0 before the first checkpoint
  double train_seconds = 0.0, eval_seconds = 0.0, data_wait_seconds = 0.0;
  double epoch_seconds = 0.0, epoch_wait_seconds = 0.0;  ///< of the epoch that is not at its end: training, waiting for data
  std::optional<EpochRecord> last;                       ///< of the last epoch
  std::optional<EpochRecord> best;                       ///< on the split that the protocol chooses by
  std::optional<EpochRecord> pending;  ///< trained, but not yet evaluated and recorded; a run resumed from here evaluates first

  /// The share of training time, without evaluation, that the next batch was waited for: 0 … 1.
  double data_wait_share() const { return train_seconds > 0.0 ? data_wait_seconds / train_seconds : 0.0; }
  /// True if a record is part of the training so far, so that it is not made again.
  bool contains(const EpochRecord& record) const;

  bool operator==(const RunProgress&) const = default;
};

/// The result of a run.
struct Outcome {
  EpochRecord chosen;              ///< the epoch whose parameters count
  std::optional<Evaluation> test;  ///< with `final_test`
  std::string selection;           ///< how it was chosen, in words
};

/// JSON objects on one line, and back. A split's figures have keys such as `test_loss` and `test_images`. Text that is not UTF-8
/// is written with replacement characters. Reading throws `std::runtime_error` on anything else.
std::string to_json(const EpochRecord& record);
EpochRecord epoch_record_from_json(const std::string& json);
std::string to_json(const RunProgress& progress);
RunProgress run_progress_from_json(const std::string& json);

}  // namespace respeft::train
