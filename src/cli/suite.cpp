#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/runs/suite.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/train_flags.h"
#include "src/cli/training.h"

namespace respeft::cli {
namespace {

/// Shows on stderr how a suite goes on.
class SuiteWatcher : public runs::SuiteObserver {
 public:
  explicit SuiteWatcher(const TrainFlags& flags) : flags_(flags) {}

  void note(const std::string& line) override { watcher_.note(line); }
  void progress(const train::WorkProgress& work) override { watcher_.progress(work); }
  void epoch(const train::EpochRecord& record, int64_t total) override { watcher_.epoch(record, total); }
  void begin(const std::vector<runs::TrainConfig>& configs) override {
    datasets_ = configs.size();
    for (const auto& config : configs) {
      if (flags_.note_protocol(config)) break;  // once is enough
    }
  }
  void dataset(const runs::SuiteTask& task, size_t number, size_t total, const runs::TrainConfig& config) override {
    watcher_.note(
        fmt::format("{} ({} of {}): {} with {} -> {}", task.name, number, total, config.model, config.method, config.out));
  }
  void failed(const runs::SuiteTask& task, const std::string& fault) override {
    watcher_.note(fmt::format("respeft: warning: {}: {}", task.name, fault));
  }
  /// How many are trained on.
  size_t datasets() const { return datasets_; }

 private:
  const TrainFlags& flags_;
  Watcher watcher_;
  size_t datasets_ = 0;
};

/// `suite`: every dataset of a benchmark, each with its own recipe, and the table that papers print.
class SuiteCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("benchmark", spec_, "vtab:ROOT or fgvc:ROOT: trains on every dataset in it, one after the other")
        ->type_name("KIND:ROOT")
        ->required();
    app.add_option("--recipes", recipes_,
                   "settings of each dataset: NAME/DATASET of 'respeft recipes', or DATASET.toml in a folder, or none: only the "
                   "flags; default: rlrr/vtab or rlrr/fgvc")
        ->type_name("NAME|DIR")
        ->group("Run");
    datasets_option_ = app.add_option("--datasets", datasets_, "only these, separated by commas")->type_name("NAMES");
    datasets_option_->group("Data");
    flags_.declare(app, {"data", "recipe"});
  }

  int run() override {
    if (datasets_option_->count() > 0 && text::split(datasets_, ',').empty())
      throw std::invalid_argument(fmt::format("--datasets: '{}' names none", datasets_));
    const InterruptGuard guard;
    SuiteWatcher watcher(flags_);
    const auto report = runs::run_suite({.spec = spec_,
                                         .out = flags_.given("out"),
                                         .recipes = recipes_,
                                         .datasets = datasets_,
                                         .config = flags_.sources(threads(), config_file()),
                                         .stop = &InterruptGuard::flag()},
                                        watcher);
    show(report);
    if (report.failed.empty()) return kDone;
    std::vector<std::string> failures;
    for (const auto& [name, fault] : report.failed) failures.push_back(fmt::format("{}: {}", name, fault));
    throw std::runtime_error(
        fmt::format("{} of {} datasets failed: {}", failures.size(), watcher.datasets(), text::join(failures, "; ")));
  }

 private:
  void show(const runs::SuiteReport& report) const {
    if (report.results.empty()) return;
    if (json()) return print_json(nlohmann::ordered_json::parse(runs::to_json(report)));
    const bool grouped = !report.results[0].task.group.empty(), mixed = report.protocol().empty();
    Table table({"dataset", grouped ? "group" : "", "test " + report.results[0].experiment.score, "seeds", "epoch",
                 "test " + report.results[0].experiment.unit, mixed ? "protocol" : ""});
    for (const auto& [task, e] : report.results) {
      table.add({task.name, task.group, score_text(e.score, e.mean(), e.deviation()), std::to_string(e.runs.size()),
                 epochs_text(e), count(e.test_examples), mixed ? e.config.protocol : ""});
    }
    for (const auto& mean : runs::suite_means(report.results)) {
      const bool group = grouped && !mean.name.starts_with("mean");
      table.add({group ? "mean" : mean.name, group ? mean.name : "",
                 score_text(report.results[0].experiment.score, mean.score, mean.deviation), "", "", "", ""});
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

  std::string spec_, recipes_, datasets_;
  CLI::Option* datasets_option_ = nullptr;
  TrainFlags flags_;
};

}  // namespace

std::unique_ptr<Command> make_suite() {
  return std::make_unique<SuiteCommand>();
}

}  // namespace respeft::cli
