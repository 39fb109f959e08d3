#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <respeft/runs/experiment.h>

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
  int64_t all = 0;               ///< how many the benchmark has
};

/// The datasets of `vtab:ROOT` or `fgvc:ROOT` that are there. Throws `std::invalid_argument` on another kind,
/// `std::runtime_error` if the root is no folder, has none of them, or has two folders of one.
SuiteTasks suite_tasks(const std::string& spec);

/// All datasets of a benchmark, `vtab` or `fgvc`, in the order that tables list them, without `data`.
std::vector<SuiteTask> benchmark_tasks(const std::string& benchmark);

/// A mean over datasets of their mean accuracy on test.
struct SuiteMean {
  std::string name;  ///< a group's, or `mean of 19` (over the datasets), or `mean of groups`
  double accuracy = 0.0;
  /// Standard deviation over the seeds of this mean; nothing where the datasets do not have the same number of seeds, more than
  /// one.
  std::optional<double> deviation;
};

/// What came of one dataset.
struct SuiteResult {
  SuiteTask task;
  Experiment experiment;
};

/// What came of a benchmark.
struct SuiteReport {
  std::string benchmark;
  int64_t all = 0;  ///< datasets that it has
  std::vector<SuiteResult> results;
  std::vector<std::pair<std::string, std::string>> failed;  ///< datasets by name, and what went wrong

  /// The protocol of all results; empty where they have several.
  std::string protocol() const;
};

/// The means of each group, over the groups (what VTAB reports), and over all datasets (what papers' tables average). None where
/// the results have several protocols.
std::vector<SuiteMean> suite_means(const std::vector<SuiteResult>& results);

/// A JSON object: every dataset's figures (as of an experiment), the means, and what is missing.
std::string to_json(const SuiteReport& report);

}  // namespace respeft::runs
