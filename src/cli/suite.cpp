#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/io/file.h>
#include <respeft/train/interrupt.h>
#include <respeft/train/recipe.h>
#include <respeft/train/suite.h>

#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/recipes.h"
#include "src/cli/train_flags.h"
#include "src/cli/training.h"
#include "src/util/text.h"

namespace respeft::cli {
namespace {

/// `suite`: every data set of a benchmark, each with its own recipe, and the table that papers print.
class SuiteCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("benchmark", spec_, "vtab:ROOT or fgvc:ROOT: the data sets that are there are trained on, one after the other")
        ->type_name("KIND:ROOT")
        ->required();
    app.add_option("--recipes", recipes_, "settings of each data set: NAME/DATASET of 'respeft recipes'; none: the flags' alone")
        ->type_name("NAME")
        ->group("Run");
    app.add_option("--datasets", datasets_, "only these, with commas between")->type_name("NAMES")->group("Data");
    flags_.declare(app, {"data", "recipe"});
  }

  int run() override {
    const auto suite = chosen_tasks();
    const std::string root = flags_.given("out");
    if (root.empty()) throw std::invalid_argument("--out: missing; give --out DIR for the runs' files");
    std::vector<train::TrainConfig> configs;  // all of them first, so that a mistake is found before hours have passed
    for (const auto& task : suite.tasks) {
      configs.push_back(config_of(task, suite.benchmark, root));
      if (!flags_.resume() && std::filesystem::exists(configs.back().out))
        throw std::invalid_argument(
            fmt::format("--out: {} is there already; --resume goes on with what it holds", configs.back().out));
    }

    const train::InterruptGuard guard;
    std::vector<train::SuiteResult> results;
    std::vector<std::string> failures;
    for (size_t i = 0; i < configs.size(); ++i) {
      const auto& task = suite.tasks[i];
      note(fmt::format("{} ({} of {}): {} with {} -> {}", task.name, i + 1, configs.size(), configs[i].model, configs[i].method,
                       configs[i].out));
      try {
        Watcher watcher;
        const train::RunOptions options{.resume = flags_.resume(), .stop = &train::InterruptGuard::flag()};
        results.push_back({task, train::run_experiment(configs[i], options, watcher)});
      } catch (const train::Interrupted&) {
        throw;
      } catch (const std::runtime_error& error) {
        failures.push_back(fmt::format("{}: {}", task.name, error.what()));
        warn(failures.back());
      }
    }
    report(results, suite.all, root);
    if (!failures.empty())
      throw std::runtime_error(
          fmt::format("{} of {} data sets failed: {}", failures.size(), configs.size(), util::join(failures, "; ")));
    return kDone;
  }

 private:
  train::SuiteTasks chosen_tasks() const {
    auto suite = train::suite_tasks(spec_);
    if (datasets_.empty()) return suite;
    std::vector<std::string> names;
    for (const auto& task : suite.tasks) names.push_back(task.name);
    const auto wanted = util::split(datasets_, ',');
    for (const auto& name : wanted) {
      if (std::find(names.begin(), names.end(), name) == names.end())
        throw std::invalid_argument(fmt::format("--datasets: {}", util::unknown("data set in " + spec_, name, names)));
    }
    std::erase_if(suite.tasks,
                  [&](const auto& task) { return std::find(wanted.begin(), wanted.end(), task.name) == wanted.end(); });
    return suite;
  }

  train::TrainConfig config_of(const train::SuiteTask& task, const std::string& benchmark, const std::string& root) const {
    std::vector<std::pair<std::string, std::string>> fixed = {{"data", task.data},
                                                              {"out", (std::filesystem::path(root) / task.name).string()}};
    const std::string recipes = recipes_.empty() ? "rlrr/" + benchmark : recipes_;
    if (recipes != "none") fixed.emplace_back("recipe", recipes + "/" + task.name);
    return flags_.make_config(threads(), fixed);
  }

  void report(const std::vector<train::SuiteResult>& results, int64_t all, const std::string& root) const {
    if (results.empty()) return;
    const std::string document = train::to_json(results);
    io::write_file((std::filesystem::path(root) / "summary.json").string(), document + "\n");
    if (json()) return print_json(nlohmann::ordered_json::parse(document));
    const bool grouped = !results[0].task.group.empty();
    Table table({"data set", grouped ? "group" : "", "test accuracy", "seeds", "epoch", "test images"});
    for (const auto& [task, e] : results) {
      table.add({task.name, task.group, accuracy_text(e.accuracy(), e.deviation()), std::to_string(e.runs.size()), epochs_text(e),
                 count(e.test_images)});
    }
    const auto means = train::suite_means(results);
    for (const auto& mean : means) {
      const bool group = grouped && !mean.name.starts_with("mean");
      table.add({group ? "mean" : mean.name, group ? mean.name : "", accuracy_text(mean.accuracy, mean.deviation), "", "", ""});
    }
    print(table.text());
    const auto& config = results[0].experiment.config;
    print_line(fmt::format("\nprotocol {}: {}", config.protocol, protocol_text(config.protocol)));
    if (static_cast<int64_t>(results.size()) < all)
      print_line(fmt::format("{} of the benchmark's {} data sets", results.size(), all));
  }

  /// The epoch that counts, or from which to which, over the seeds.
  static std::string epochs_text(const train::Experiment& experiment) {
    const auto [first, last] = std::minmax_element(experiment.runs.begin(), experiment.runs.end(),
                                                   [](const auto& a, const auto& b) { return a.epoch < b.epoch; });
    return first->epoch == last->epoch ? count(first->epoch) : fmt::format("{}–{}", first->epoch, last->epoch);
  }

  static std::string protocol_text(const std::string& protocol) {
    if (protocol == "paper") return "the best epoch on the TEST split, an optimistic figure";
    if (protocol == "honest") return "chosen on val, trained anew on train and val, tested once a seed";
    return protocol == "val" ? "the best epoch on val, trained on train alone" : "the last epoch";
  }

  std::string spec_, recipes_, datasets_;
  TrainFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_suite() {
  return std::make_unique<SuiteCommand>();
}

}  // namespace respeft::cli
