#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include <respeft/runs/config.h>
#include <respeft/train/record.h>
#include <respeft/train/trainer.h>

namespace respeft::runs {

/// The final figures of a run: what stands in `summary.json`.
struct Summary {
  TrainConfig config;
  Outcome outcome;
  RunProgress progress;
  int64_t trained_parameters = 0;  ///< head included
  int64_t head_parameters = 0;
  int64_t train_images = 0, classes = 0;
  double seconds = 0.0;  ///< of everything, the sessions before a `--resume` included
  int64_t peak_rss = 0;  ///< bytes, of this process
};

/// A JSON object of several lines.
std::string to_json(const Summary& summary);

struct RunOptions {
  bool resume = false;                      ///< go on from the directory's checkpoint, if there is one
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted` soon after this becomes true
};

/// The configuration that the run in directory `out` was started with, if there is one.
std::optional<TrainConfig> started_config(const std::string& out);

/// Throws `std::invalid_argument` that names each field in which `asked` (resolved) differs from `started` and may not:
/// only more epochs, threads and workers may change.
void check_continues(const TrainConfig& started, const TrainConfig& asked);

/// Trains as the resolved `config` says, and leaves a run directory at `config.out`: `config.toml`, `metrics.jsonl`,
/// `checkpoint/`, and once all is done `adapter.safetensors` and `summary.json`.
/// Throws `std::invalid_argument` on a configuration that cannot be, or when the directory holds another run;
/// `std::runtime_error` when the work fails; `Interrupted` when it is stopped.
Summary run(TrainConfig config, const RunOptions& options, Observer& observer);

}  // namespace respeft::runs
