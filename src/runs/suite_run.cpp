#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/core/text.h>
#include <respeft/data/image/dataset.h>
#include <respeft/formats/file.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/suite.h>

#include "src/runs/suite_file.h"

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;

std::string fault_of(const std::exception& error) {
  if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) return torch->what_without_backtrace();
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ? "out of memory" : error.what();
}

/// A part of the collection of recipes by its name; a folder of one's own by its absolute path.
std::string collection_or_folder(std::string recipes, const std::string& directory) {
  while (recipes.size() > 1 && recipes.ends_with('/')) recipes.pop_back();
  if (recipes == "none") return recipes;
  const auto known = recipes_in(directory);
  const bool part =
      std::any_of(known.begin(), known.end(), [&](const auto& recipe) { return recipe.name.starts_with(recipes + "/"); });
  if (part || !fs::is_directory(recipes)) return recipes;
  return (fs::absolute(recipes) / "").lexically_normal().parent_path().string();
}

/// Throws on faults that would otherwise be found only when the datasets before are trained.
void check_before_training(const TrainConfig& config, const ConfigSources& sources) {
  const std::string flag = sources.called ? sources.called("final_test") : "final_test";
  if (!config.final_test) throw std::invalid_argument(flag + ": must be on in a suite, whose table is of figures on test");
  if (fs::exists(fs::path(config.out) / "summary.json")) return;
  if (!config.weights.empty() && !fs::exists(config.weights))
    throw std::runtime_error(config.weights + ": No such file or directory");
  const auto splits = data::dataset_splits(config.data, config.dataset_options());
  const auto has = [&](data::Split split) { return std::find(splits.begin(), splits.end(), split) != splits.end(); };
  std::vector<data::Split> needed = {data::Split::test};
  if (config.protocol == "val" || config.protocol == "honest") needed.push_back(data::Split::val);
  if (!config.train_split.empty()) {
    needed.push_back(data::split_from_name(config.train_split));
  } else if (config.protocol == "val" || !has(data::Split::trainval)) {
    needed.push_back(data::Split::train);
  }
  for (const auto split : needed) {
    if (!has(split))
      throw std::runtime_error(fmt::format("{}: there is no list of its split '{}'", config.data, data::to_string(split)));
  }
}

/// One call of `run_suite`.
class SuiteRun {
 public:
  SuiteRun(const SuiteOptions& options, SuiteObserver& observer)
      : options_(options), observer_(observer), sources_(options.config), datasets_(options.datasets) {}

  SuiteReport run() {
    auto suite = suite_tasks(options_.spec);
    if (options_.out.empty()) throw std::invalid_argument(called("out") + ": missing; give --out DIR for the runs' files");
    const std::string begun_with = continue_or_begin(suite.benchmark);
    choose(suite.tasks);
    std::vector<TrainConfig> configs;  // all of them first, so that a mistake is found before hours have passed
    for (const auto& task : suite.tasks) {
      configs.push_back(config_of(task));
      sources_.note = nullptr;  // a line about normalization is said once
    }
    for (const auto& config : configs) check_before_training(config, sources_);
    fs::create_directories(options_.out);
    write_suite_file(file_path(), {suite.benchmark, begun_with, recipes_, canonical(sources_.settings, sources_)});
    observer_.begin(configs);
    SuiteReport report{suite.benchmark, suite.all, {}, {}};
    for (size_t i = 0; i < configs.size(); ++i) {
      observer_.dataset(suite.tasks[i], i + 1, configs.size(), configs[i]);
      train_one(suite.tasks[i], configs[i], report);
    }
    collect(report);
    if (!report.results.empty()) formats::write_file((fs::path(options_.out) / "summary.json").string(), to_json(report) + "\n");
    return report;
  }

 private:
  std::string called(const std::string& name) const { return sources_.called ? sources_.called(name) : name; }
  std::string file_path() const { return (fs::path(options_.out) / "suite.toml").string(); }
  std::string run_path(const std::string& task) const { return (fs::path(options_.out) / task).string(); }

  void train_one(const SuiteTask& task, const TrainConfig& config, SuiteReport& report) {
    try {
      run_experiment(config, {.resume = sources_.resume, .stop = options_.stop}, observer_);
    } catch (const Interrupted&) {
      throw;
    } catch (const std::exception& error) {
      report.failed.emplace_back(task.name, fault_of(error));
      observer_.failed(task, report.failed.back().second);
    }
  }

  /// Leaves the tasks that `datasets` names, or their folders.
  void choose(std::vector<SuiteTask>& tasks) const {
    if (datasets_.empty()) return;
    const auto is = [](const SuiteTask& task, const std::string& name) {
      return task.name == name || fs::path(task.data).filename() == name;
    };
    std::vector<std::string> names;
    for (const auto& task : tasks) names.push_back(task.name);
    const auto wanted = text::split(datasets_, ',');
    for (const auto& name : wanted) {
      if (std::none_of(tasks.begin(), tasks.end(), [&](const auto& task) { return is(task, name); }))
        throw std::invalid_argument(
            fmt::format("{}: {}", called("datasets"), text::unknown("dataset in " + options_.spec, name, names)));
    }
    std::erase_if(tasks, [&](const auto& task) {
      return std::none_of(wanted.begin(), wanted.end(), [&](const auto& name) { return is(task, name); });
    });
  }

  /// Settles recipes and datasets, and puts in the settings that the suite was begun with, if it goes on. Returns all datasets
  /// that have been asked for, those of before included; empty: all that are there.
  std::string continue_or_begin(const std::string& benchmark) {
    const bool recipes_given = !options_.recipes.empty();
    recipes_ = recipes_given ? collection_or_folder(options_.recipes, sources_.recipes) : "rlrr/" + benchmark;
    const auto kept = read_suite_file(file_path());
    if (kept && kept->benchmark != benchmark)
      throw std::invalid_argument(
          fmt::format("{}: {} is for {}, not for {}; give another", called("out"), options_.out, kept->benchmark, benchmark));
    const auto tasks = benchmark_tasks(benchmark);
    const auto begun =
        std::find_if(tasks.begin(), tasks.end(), [&](const auto& task) { return fs::exists(run_path(task.name)); });
    if (!sources_.resume) {
      if (begun == tasks.end()) return datasets_;
      throw std::invalid_argument(fmt::format("{}: {} is there already; {} goes on with what {} holds", called("out"),
                                              run_path(begun->name), called("resume"), options_.out));
    }
    if (!kept && begun == tasks.end() && setting(sources_.settings, "weights").empty())
      throw std::invalid_argument(
          fmt::format("{}: {} holds no suite; to begin one, give {} FILE", called("resume"), options_.out, called("weights")));
    if (!kept) return datasets_;
    const bool same = begun != tasks.end();
    if (same && recipes_given && recipes_ != kept->recipes)
      throw std::invalid_argument(fmt::format("cannot resume what {} began: {}: begun with '{}', asked for is '{}'", file_path(),
                                              called("recipes"), kept->recipes, recipes_));
    if (!recipes_given) recipes_ = kept->recipes;
    sources_.settings = continued(sources_.settings, kept->settings, file_path(), same, sources_);
    if (datasets_.empty()) datasets_ = kept->datasets;
    if (kept->datasets.empty() || kept->datasets == datasets_) return kept->datasets;
    auto all = text::split(kept->datasets, ',');
    for (const auto& name : text::split(datasets_, ',')) {
      if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
    }
    return text::join(all, ",");
  }

  TrainConfig config_of(const SuiteTask& task) const {
    ConfigSources own = sources_;
    own.settings.emplace_back("data", task.data);
    own.settings.emplace_back("out", run_path(task.name));
    const bool folder = fs::path(recipes_).is_absolute();
    if (recipes_ != "none") own.settings.emplace_back("recipe", recipes_ + "/" + task.name + (folder ? ".toml" : ""));
    return make_config(own);
  }

  /// Every dataset that is finished in the suite's folder, those that were not asked for this time included.
  void collect(SuiteReport& report) const {
    for (auto task : benchmark_tasks(report.benchmark)) {
      const auto failed = [&](const auto& failure) { return failure.first == task.name; };
      if (std::any_of(report.failed.begin(), report.failed.end(), failed)) continue;
      try {
        auto experiment = finished_experiment(run_path(task.name));
        if (!experiment) continue;
        task.data = experiment->config.data;
        if (sources_.resume && config_of(task).last_epoch() != experiment->config.last_epoch()) {
          observer_.note(fmt::format("{}: not in the table: it was trained for other epochs; {} without {} goes on with it",
                                     task.name, called("resume"), called("datasets")));
          continue;
        }
        report.results.push_back({task, std::move(*experiment)});
      } catch (const std::exception& error) {
        observer_.note(fmt::format("{}: not in the table: {}", task.name, fault_of(error)));
      }
    }
  }

  const SuiteOptions& options_;
  SuiteObserver& observer_;
  ConfigSources sources_;
  std::string datasets_, recipes_;
};

}  // namespace

SuiteReport run_suite(const SuiteOptions& options, SuiteObserver& observer) {
  return SuiteRun(options, observer).run();
}

}  // namespace respeft::runs
