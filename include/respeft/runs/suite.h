#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/experiment.h>
#include <respeft/runs/settings.h>
#include <respeft/train/trainer.h>

// A benchmark of several datasets, trained one by one.
namespace respeft::runs {

/// One dataset of a benchmark.
struct SuiteTask {
  std::string name;   ///< e.g. `cifar`: also the last part of its recipe's name
  std::string group;  ///< e.g. `natural`; empty where the benchmark has no groups
  std::string data;   ///< e.g. `vtab:vtab-1k/cifar`
};

/// A benchmark's root, and the datasets in it.
struct SuiteTasks {
  std::string benchmark;         ///< `vtab` or `fgvc`: the middle part of its recipes' names
  std::vector<SuiteTask> tasks;  ///< in the order that tables list them
  int64_t all = 0;               ///< number of datasets in the benchmark
};

/// The existing datasets of `vtab:ROOT` or `fgvc:ROOT`. Throws `std::invalid_argument` on another kind, `std::runtime_error` if
/// the root is not a folder, has none of them, or has two folders of one.
SuiteTasks suite_tasks(const std::string& spec);

/// All datasets of a benchmark, `vtab` or `fgvc`, in the order that tables list them, without `data`.
std::vector<SuiteTask> benchmark_tasks(const std::string& benchmark);

/// A mean over datasets of their mean score on test.
struct SuiteMean {
  std::string name;  ///< a group's, or `mean of 19` (over the datasets), or `mean of groups`
  double score = 0.0;
  /// Standard deviation over the seeds of this mean; nothing where the datasets do not have the same number of seeds, more than
  /// one.
  std::optional<double> deviation;
};

/// Results of one dataset.
struct SuiteResult {
  SuiteTask task;
  Experiment experiment;
};

/// Results of a benchmark.
struct SuiteReport {
  std::string benchmark;
  int64_t all = 0;  ///< datasets that it has
  std::vector<SuiteResult> results;
  std::vector<std::pair<std::string, std::string>> failed;  ///< datasets by name, and their errors

  /// The protocol of all results; empty if they differ.
  std::string protocol() const;
};

/// The means of each group, over the groups (what VTAB reports), and over all datasets (what papers' tables average). None if
/// the results have several protocols.
std::vector<SuiteMean> suite_means(const std::vector<SuiteResult>& results);

/// Which datasets of a benchmark are trained on, and how.
struct SuiteOptions {
  std::string spec;      ///< `vtab:ROOT` or `fgvc:ROOT`
  std::string out;       ///< directory of the runs, one a dataset
  std::string recipes;   ///< `NAME/BENCHMARK` of the recipes, a folder of `DATASET.toml`, or `none`; empty: `rlrr/BENCHMARK`
  std::string datasets;  ///< comma-separated names; empty: all that exist
  ConfigSources config;  ///< for every dataset, without `data`, `out` and `recipe`; `resume` continues the suite in `out`
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted` soon after this becomes true
};

/// Suite callbacks.
class SuiteObserver : public train::Observer {
 public:
  /// All configurations are sound, and training begins.
  virtual void begin(const std::vector<TrainConfig>& /*configs*/) {}
  /// Dataset `number` (from 1) of `total` is next.
  virtual void dataset(const SuiteTask& /*task*/, size_t /*number*/, size_t /*total*/, const TrainConfig& /*config*/) {}
  /// Training on a dataset failed; the suite continues with the next.
  virtual void failed(const SuiteTask& /*task*/, const std::string& /*fault*/) {}
};

/// Trains on every dataset of a benchmark, each with its own recipe, and keeps `suite.toml`, by which a suite is resumed with the
/// settings that it was begun with, and `summary.json` in `out`. A dataset that fails leaves the others. The report has every
/// dataset that is finished in `out`.
/// Throws `std::invalid_argument` and `std::runtime_error`, before anything is trained, on settings and data that cannot be;
/// `Interrupted` when it is stopped.
SuiteReport run_suite(const SuiteOptions& options, SuiteObserver& observer);

/// A JSON object: the figures of every dataset (as for an experiment), the means, and the missing datasets.
std::string to_json(const SuiteReport& report);

}  // namespace respeft::runs
