#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include <respeft/core/ranks.h>
#include <respeft/runs/config.h>
#include <respeft/train/observer.h>
#include <respeft/train/record.h>

namespace respeft::runs {

/// The final figures of a run: the content of `summary.json`.
struct Summary {
  TrainConfig config;
  train::Outcome outcome;
  train::RunProgress progress;
  int64_t trained_parameters = 0;  ///< head included
  int64_t head_parameters = 0;
  std::string unit = "examples";  ///< the examples' name, e.g. `images`
  std::string score;              ///< the metric that chooses among epochs, e.g. `accuracy`
  int64_t train_examples = 0, classes = 0;
  double seconds = 0.0;  ///< of everything, before a `--resume` too
  int64_t peak_rss = 0;  ///< bytes, of this process
};

/// A JSON object of several lines.
std::string to_json(const Summary& summary);

struct RunOptions {
  bool resume = false;                      ///< continue from the directory's checkpoint, if there is one
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted` soon after this becomes true
  Ranks* ranks = &Ranks::single();          ///< the processes that train together; rank 0 writes the files
};

/// The configuration that the run in directory `out` was started with, if there is one.
std::optional<TrainConfig> started_config(const std::string& out);

/// Throws `std::invalid_argument` that names each field in which `asked` (resolved) differs from `started` and may not:
/// only more epochs, threads and workers may change.
void check_continues(const TrainConfig& started, const TrainConfig& asked);

/// Trains as the resolved `config` says, and leaves a run directory at `config.out`: `config.toml`, `metrics.jsonl`,
/// `checkpoint/`, and when training has ended `adapter.safetensors` and `summary.json`.
/// Throws `std::invalid_argument` on a configuration that cannot be, or when the directory holds another run;
/// `std::runtime_error` when the work fails; `Interrupted` when it is stopped.
Summary run(TrainConfig config, const RunOptions& options, train::Observer& observer);

}  // namespace respeft::runs
