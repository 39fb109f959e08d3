#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/config.h>
#include <respeft/runs/run.h>

namespace respeft::runs {

/// True if `config` describes several runs: protocol `honest`, or `seeds`.
bool is_experiment(const TrainConfig& config);

/// The seeds that are reported: `seeds`, or `seed` alone, or five from `seed` on with protocol `honest`.
std::vector<int64_t> reported_seeds(const TrainConfig& config);

/// A candidate of an experiment's selection, with its best epoch on val.
struct Candidate {
  std::vector<std::pair<std::string, std::string>> settings;  ///< of the grid; empty: only the epoch is chosen
  int64_t epoch = 0;
  double val_score = 0.0;
  std::string out;  ///< its run directory
};

/// Result of one reported run.
struct SeedResult {
  int64_t seed = 0;
  int64_t epoch = 0;
  double test_score = 0.0;
  double test_loss = 0.0;
  std::string out;  ///< its run directory
};

/// Result of an experiment: `summary.json`.
struct Experiment {
  TrainConfig config;
  std::string selection;              ///< how the reported epoch and settings were chosen, in words
  std::vector<Candidate> candidates;  ///< with protocol `honest`
  std::optional<size_t> chosen;       ///< of the candidates
  std::vector<SeedResult> runs;       ///< one a seed
  std::string score = "accuracy";     ///< the task's score, by which is chosen and which is reported
  std::string unit = "images";        ///< the examples' name
  int64_t test_examples = 0, classes = 0;
  int64_t trained_parameters = 0;  ///< head included
  double seconds = 0.0;            ///< of all runs

  /// Mean of the runs' scores on test.
  double mean() const;
  /// Their standard deviation (of a sample, divided by n - 1); nothing for a single run.
  std::optional<double> deviation() const;
};

/// A JSON object of several lines.
std::string to_json(const Experiment& experiment);

/// Runs everything that the resolved `config` describes. A run without `seeds` is in `config.out` itself, as `run` leaves it.
/// An experiment has its configuration and `summary.json` there, and its runs in directories of their own: `seed-N`, and with
/// protocol `honest` `select` (with a grid, one inside it for each combination).
///
/// Protocol `honest`: (1) with `seed`, train on train with each combination of the grid, and take the combination and the epoch
/// that are best on val (of equal ones the first); no image of the test split is read. (2) with each seed, train on trainval up
/// to that epoch, on the schedule of full length, and evaluate on test once.
///
/// With `options.resume`, finished runs are reused, and the others continue. Errors as `run`; `std::invalid_argument` without
/// `final_test`.
Experiment run_experiment(const TrainConfig& config, const RunOptions& options, train::Observer& observer);

/// Result of the finished run or experiment in directory `out`; nothing if there is none, or it has not finished. Throws
/// `std::runtime_error` on other files.
std::optional<Experiment> finished_experiment(const std::string& out);

}  // namespace respeft::runs
