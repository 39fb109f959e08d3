#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/data/image/dataset.h>
#include <respeft/formats/file.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/suite.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/recipes.h"
#include "src/cli/suite_file.h"
#include "src/cli/train_flags.h"
#include "src/cli/training.h"

namespace respeft::cli {
namespace {

/// `suite`: every dataset of a benchmark, each with its own recipe, and the table that papers print.
class SuiteCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("benchmark", spec_, "vtab:ROOT or fgvc:ROOT: the datasets that are there are trained on, one after the other")
        ->type_name("KIND:ROOT")
        ->required();
    app.add_option("--recipes", recipes_,
                   "settings of each dataset: NAME/DATASET of 'respeft recipes', or a folder's DATASET.toml, or the word none: "
                   "the flags' alone; default: rlrr/vtab or rlrr/fgvc")
        ->type_name("NAME|DIR")
        ->group("Run");
    datasets_option_ = app.add_option("--datasets", datasets_, "only these, with commas between")->type_name("NAMES");
    datasets_option_->group("Data");
    flags_.declare(app, {"data", "recipe"});
  }

  int run() override {
    auto suite = runs::suite_tasks(spec_);
    root_ = flags_.given("out");
    if (root_.empty()) throw std::invalid_argument("--out: missing; give --out DIR for the runs' files");
    const std::string begun_with = continue_or_begin(suite.benchmark);
    choose(suite.tasks);
    std::vector<runs::TrainConfig> configs;  // all of them first, so that a mistake is found before hours have passed
    for (const auto& task : suite.tasks) configs.push_back(config_of(task));
    for (const auto& config : configs) check_before_training(config);
    std::filesystem::create_directories(root_);
    write_suite_file(file_path(), {suite.benchmark, begun_with, recipes_, flags_.settings()});
    for (const auto& config : configs) {
      if (flags_.note_protocol(config)) break;  // once is enough
    }
    note_normalization(configs.front());

    const InterruptGuard guard;
    runs::SuiteReport report{suite.benchmark, suite.all, {}, {}};
    for (size_t i = 0; i < configs.size(); ++i) {
      const auto& task = suite.tasks[i];
      note(fmt::format("{} ({} of {}): {} with {} -> {}", task.name, i + 1, configs.size(), configs[i].model, configs[i].method,
                       configs[i].out));
      try {
        Watcher watcher;
        const runs::RunOptions options{.resume = flags_.resume(), .stop = &InterruptGuard::flag()};
        runs::run_experiment(configs[i], options, watcher);
      } catch (const Interrupted&) {
        throw;
      } catch (const std::exception& error) {
        report.failed.emplace_back(task.name, fault_of(error));
        warn(fmt::format("{}: {}", task.name, report.failed.back().second));
      }
    }
    collect(report);
    show(report);
    if (report.failed.empty()) return kDone;
    std::vector<std::string> failures;
    for (const auto& [name, fault] : report.failed) failures.push_back(fmt::format("{}: {}", name, fault));
    throw std::runtime_error(
        fmt::format("{} of {} datasets failed: {}", failures.size(), configs.size(), text::join(failures, "; ")));
  }

 private:
  /// Leaves the tasks that `--datasets` names, or their folders.
  void choose(std::vector<runs::SuiteTask>& tasks) const {
    if (datasets_.empty()) return;
    const auto is = [](const runs::SuiteTask& task, const std::string& name) {
      return task.name == name || std::filesystem::path(task.data).filename() == name;
    };
    std::vector<std::string> names;
    for (const auto& task : tasks) names.push_back(task.name);
    const auto wanted = text::split(datasets_, ',');
    for (const auto& name : wanted) {
      if (std::none_of(tasks.begin(), tasks.end(), [&](const auto& task) { return is(task, name); }))
        throw std::invalid_argument(fmt::format("--datasets: {}", text::unknown("dataset in " + spec_, name, names)));
    }
    std::erase_if(tasks, [&](const auto& task) {
      return std::none_of(wanted.begin(), wanted.end(), [&](const auto& name) { return is(task, name); });
    });
  }

  std::string file_path() const { return (std::filesystem::path(root_) / "suite.toml").string(); }
  std::string run_path(const std::string& task) const { return (std::filesystem::path(root_) / task).string(); }

  /// Settles recipes and datasets, and puts in what the suite was begun with, if it goes on. Returns all datasets that have
  /// been asked for, those of before included; empty: all that are there.
  std::string continue_or_begin(const std::string& benchmark) {
    if (datasets_option_->count() > 0 && text::split(datasets_, ',').empty())
      throw std::invalid_argument(fmt::format("--datasets: '{}' names none", datasets_));
    const bool recipes_given = !recipes_.empty();
    recipes_ = recipes_given ? collection_or_folder(recipes_) : "rlrr/" + benchmark;
    const auto kept = read_suite_file(file_path());
    if (kept && kept->benchmark != benchmark)
      throw std::invalid_argument(
          fmt::format("--out: {} is for {}, not for {}; give another", root_, kept->benchmark, benchmark));
    const auto tasks = runs::benchmark_tasks(benchmark);
    const auto begun =
        std::find_if(tasks.begin(), tasks.end(), [&](const auto& task) { return std::filesystem::exists(run_path(task.name)); });
    if (!flags_.resume()) {
      if (begun == tasks.end()) return datasets_;
      throw std::invalid_argument(
          fmt::format("--out: {} is there already; --resume goes on with what {} holds", run_path(begun->name), root_));
    }
    if (!kept && begun == tasks.end() && flags_.given("weights").empty())
      throw std::invalid_argument(fmt::format("--resume: {} holds no suite; to begin one, give --weights FILE", root_));
    if (!kept) return datasets_;
    const bool same = begun != tasks.end();
    if (same && recipes_given && recipes_ != kept->recipes)
      throw std::invalid_argument(fmt::format("cannot resume what {} began: --recipes: begun with '{}', asked for is '{}'",
                                              file_path(), kept->recipes, recipes_));
    if (!recipes_given) recipes_ = kept->recipes;
    flags_.take(kept->settings, file_path(), same);
    if (datasets_.empty()) datasets_ = kept->datasets;
    if (kept->datasets.empty() || kept->datasets == datasets_) return kept->datasets;
    auto all = text::split(kept->datasets, ',');
    for (const auto& name : text::split(datasets_, ',')) {
      if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(name);
    }
    return text::join(all, ",");
  }

  /// A part of the program's collection by its name; a folder of one's own by its absolute path.
  static std::string collection_or_folder(std::string recipes) {
    while (recipes.size() > 1 && recipes.ends_with('/')) recipes.pop_back();
    if (recipes == "none") return recipes;
    const auto known = runs::recipes_in(recipe_directory());
    const bool part =
        std::any_of(known.begin(), known.end(), [&](const auto& recipe) { return recipe.name.starts_with(recipes + "/"); });
    if (part || !std::filesystem::is_directory(recipes)) return recipes;
    return (std::filesystem::absolute(recipes) / "").lexically_normal().parent_path().string();
  }

  runs::TrainConfig config_of(const runs::SuiteTask& task) const {
    std::vector<std::pair<std::string, std::string>> fixed = {{"data", task.data}, {"out", run_path(task.name)}};
    const bool folder = std::filesystem::path(recipes_).is_absolute();
    if (recipes_ != "none") fixed.emplace_back("recipe", recipes_ + "/" + task.name + (folder ? ".toml" : ""));
    return flags_.make_config(threads(), config_file(), fixed);
  }

  /// Throws on what would only be found once the datasets before are trained.
  static void check_before_training(const runs::TrainConfig& config) {
    if (!config.final_test) throw std::invalid_argument("--final-test: must be on in a suite, whose table is of figures on test");
    if (std::filesystem::exists(std::filesystem::path(config.out) / "summary.json")) return;
    if (!config.weights.empty() && !std::filesystem::exists(config.weights))
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

  static std::string fault_of(const std::exception& error) {
    if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) return torch->what_without_backtrace();
    return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ? "out of memory" : error.what();
  }

  /// Every dataset that is finished in the suite's folder, those that were not asked for this time included.
  void collect(runs::SuiteReport& report) const {
    for (auto task : runs::benchmark_tasks(report.benchmark)) {
      const auto failed = [&](const auto& failure) { return failure.first == task.name; };
      if (std::any_of(report.failed.begin(), report.failed.end(), failed)) continue;
      try {
        auto experiment = runs::finished_experiment(run_path(task.name));
        if (!experiment) continue;
        task.data = experiment->config.data;
        if (flags_.resume() && config_of(task).last_epoch() != experiment->config.last_epoch()) {
          note(fmt::format("{}: not in the table: it was trained for other epochs; --resume without --datasets goes on with it",
                           task.name));
          continue;
        }
        report.results.push_back({task, std::move(*experiment)});
      } catch (const std::exception& error) {
        warn(fmt::format("{}: not in the table: {}", task.name, fault_of(error)));
      }
    }
  }

  void show(const runs::SuiteReport& report) const {
    if (report.results.empty()) return;
    const std::string document = runs::to_json(report);
    formats::write_file((std::filesystem::path(root_) / "summary.json").string(), document + "\n");
    if (json()) return print_json(nlohmann::ordered_json::parse(document));
    const bool grouped = !report.results[0].task.group.empty(), mixed = report.protocol().empty();
    Table table({"dataset", grouped ? "group" : "", "test accuracy", "seeds", "epoch", "test images", mixed ? "protocol" : ""});
    for (const auto& [task, e] : report.results) {
      table.add({task.name, task.group, accuracy_text(e.accuracy(), e.deviation()), std::to_string(e.runs.size()), epochs_text(e),
                 count(e.test_images), mixed ? e.config.protocol : ""});
    }
    for (const auto& mean : runs::suite_means(report.results)) {
      const bool group = grouped && !mean.name.starts_with("mean");
      table.add(
          {group ? "mean" : mean.name, group ? mean.name : "", accuracy_text(mean.accuracy, mean.deviation), "", "", "", ""});
    }
    print(table.text());
    print_line(mixed ? "\nno means: the protocols differ"
                     : fmt::format("\nprotocol {}: {}", report.protocol(), protocol_text(report.protocol())));
    if (static_cast<int64_t>(report.results.size()) < report.all)
      print_line(fmt::format("{} of the benchmark's {} datasets", report.results.size(), report.all));
  }

  /// The epoch that counts, or from which to which, over the seeds.
  static std::string epochs_text(const runs::Experiment& experiment) {
    const auto [first, last] = std::minmax_element(experiment.runs.begin(), experiment.runs.end(),
                                                   [](const auto& a, const auto& b) { return a.epoch < b.epoch; });
    return first->epoch == last->epoch ? count(first->epoch) : fmt::format("{}–{}", first->epoch, last->epoch);
  }

  static std::string protocol_text(const std::string& protocol) {
    if (protocol == "paper") return "the best epoch on the TEST split, an optimistic figure";
    if (protocol == "honest") return "chosen on val, trained anew on train and val, tested once a seed";
    return protocol == "val" ? "the best epoch on val, trained on train alone" : "the last epoch";
  }

  std::string spec_, recipes_, datasets_, root_;
  CLI::Option* datasets_option_ = nullptr;
  TrainFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_suite() {
  return std::make_unique<SuiteCommand>();
}

}  // namespace respeft::cli
