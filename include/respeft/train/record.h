#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace respeft::train {

/// Metrics by name, in display order: a task's `loss`, `accuracy`, …
class MetricValues {
 public:
  MetricValues() = default;
  MetricValues(std::vector<std::pair<std::string, double>> values) : values_(std::move(values)) {}

  /// Throws `std::out_of_range` that names a missing metric.
  double at(const std::string& name) const;
  bool contains(const std::string& name) const;
  const std::vector<std::pair<std::string, double>>& values() const { return values_; }

  bool operator==(const MetricValues&) const = default;

 private:
  std::vector<std::pair<std::string, double>> values_;
};

/// The metrics of one split.
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
  int64_t step = 0;   ///< of an evaluation inside the epoch: number of training steps before it; 0: the epoch has ended
  double lr = 0.0;
  MetricValues train;    ///< over the epoch's examples so far, as trained: with label smoothing, dropout and mixed labels
  double seconds = 0.0;  ///< of training
  double data_wait_seconds = 0.0;
  std::optional<Evaluation> evaluation;

  bool operator==(const EpochRecord&) const = default;
};

/// The progress of a run.
struct RunProgress {
  int64_t epochs = 0;       ///< number of trained epochs
  int64_t steps = 0;        ///< number of all training steps
  int64_t epoch_steps = 0;  ///< steps of the unfinished epoch
  double seconds = 0.0;     ///< of everything: set-up, training, evaluation, writing; 0 before the first checkpoint
  double train_seconds = 0.0, eval_seconds = 0.0, data_wait_seconds = 0.0;
  double epoch_seconds = 0.0, epoch_wait_seconds = 0.0;  ///< of the unfinished epoch: training, waiting for data
  std::optional<EpochRecord> last;                       ///< of the last epoch
  std::optional<EpochRecord> best;                       ///< on the split that the protocol uses for the choice
  std::optional<EpochRecord> pending;  ///< trained, but not yet evaluated and recorded; a run resumed from here evaluates first

  /// Share of the training time (without evaluation) spent waiting for batches: 0 … 1.
  double data_wait_share() const { return train_seconds > 0.0 ? data_wait_seconds / train_seconds : 0.0; }
  /// True if the record belongs to the training up to this point.
  bool contains(const EpochRecord& record) const;

  bool operator==(const RunProgress&) const = default;
};

/// The result of a run.
struct Outcome {
  EpochRecord chosen;              ///< the epoch whose parameters are the result
  std::optional<Evaluation> test;  ///< with `final_test`
  std::string selection;           ///< how it was chosen, in words
};

/// Conversion to one-line JSON objects and back. The metrics of a split have keys such as `test_loss` and `test_images`. Text
/// that is not UTF-8 is written with replacement characters. Reading throws `std::runtime_error` on invalid JSON.
std::string to_json(const EpochRecord& record);
EpochRecord epoch_record_from_json(const std::string& json);
std::string to_json(const RunProgress& progress);
RunProgress run_progress_from_json(const std::string& json);

}  // namespace respeft::train
