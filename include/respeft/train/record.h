#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace respeft::train {

/// How a model does on one split.
struct Evaluation {
  std::string split;
  int64_t images = 0;
  double loss = 0.0;      ///< mean cross-entropy, without label smoothing
  double accuracy = 0.0;  ///< share of images
  double seconds = 0.0;

  bool operator==(const Evaluation&) const = default;
};

/// One epoch: a line of `metrics.jsonl`.
struct EpochRecord {
  int64_t epoch = 0;  ///< from 1
  double lr = 0.0;
  double train_loss = 0.0;      ///< mean over the epoch's images, as trained: with label smoothing and dropout
  double train_accuracy = 0.0;  ///< likewise; of a mixed image, the class that weighs most is the right one
  double seconds = 0.0;         ///< of training
  double data_wait_seconds = 0.0;
  std::optional<Evaluation> evaluation;

  bool operator==(const EpochRecord&) const = default;
};

/// How far a run is.
struct RunProgress {
  int64_t epochs = 0;  ///< that are done
  int64_t steps = 0;
  double seconds = 0.0;  ///< of everything: setting up, training, evaluation, writing; 0 before the first checkpoint
  double train_seconds = 0.0, eval_seconds = 0.0, data_wait_seconds = 0.0;
  std::optional<EpochRecord> last, best;  ///< best: on the split that the protocol chooses by

  /// How much of the time of training, without evaluation, the next batch was waited for: 0 … 1.
  double data_wait_share() const { return train_seconds > 0.0 ? data_wait_seconds / train_seconds : 0.0; }

  bool operator==(const RunProgress&) const = default;
};

/// What a run came to.
struct Outcome {
  EpochRecord chosen;              ///< the epoch whose parameters count
  std::optional<Evaluation> test;  ///< with `final_test`
  std::string selection;           ///< how it was chosen, in words
};

/// JSON objects on one line, and back. Reading throws `std::runtime_error` on anything else.
std::string to_json(const EpochRecord& record);
EpochRecord epoch_record_from_json(const std::string& json);
std::string to_json(const RunProgress& progress);
RunProgress run_progress_from_json(const std::string& json);

}  // namespace respeft::train
