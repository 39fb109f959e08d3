#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include <respeft/core/interrupt.h>
#include <respeft/data/image/fgvc.h>
#include <respeft/data/image/vtab.h>
#include <respeft/runs/experiment.h>
#include <respeft/runs/run.h>

#include "src/cli/command.h"
#include "src/cli/output.h"
#include "src/cli/train_flags.h"
#include "src/cli/training.h"

namespace respeft::cli {
namespace {

/// The task of VTAB-1k or FGVC that a recipe or a folder is named for; empty when there is none.
std::string task_named(const std::string& path) {
  const std::string name = std::filesystem::path(path).filename().string();
  for (const auto& task : data::vtab_tasks()) {
    if (task.name == name) return name;
  }
  try {
    return data::fgvc_task(name).name;
  } catch (const std::invalid_argument&) {
    return "";
  }
}

void note_other_dataset(const runs::TrainConfig& config) {
  const std::string recipe = task_named(config.recipe), data = task_named(config.data.substr(config.data.find(':') + 1));
  if (recipe.empty() || data.empty() || recipe == data) return;
  note(fmt::format("recipe {} is for another dataset than {}", config.recipe, config.data));
}

/// `train`: one run, or the several that a protocol or a list of seeds asks for.
class TrainCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    flags_.declare(app);
    app.add_flag("--dry-run", dry_run_, "print every setting as it would be used, and stop")->group("Run");
  }

  int run() override {
    const runs::TrainConfig config = flags_.make_config(threads(), config_file());
    if (dry_run_) {
      print_settings(config);
      return kDone;
    }
    flags_.note_protocol(config);
    note_other_dataset(config);
    note(fmt::format("{} with {} on {} -> {}", config.model, config.method, config.data, config.out));
    const InterruptGuard guard;
    const runs::RunOptions options{.resume = flags_.resume(), .stop = &InterruptGuard::flag()};
    Watcher watcher;
    if (runs::is_experiment(config)) {
      const auto experiment = runs::run_experiment(config, options, watcher);
      json() ? print_json(nlohmann::json::parse(runs::to_json(experiment))) : print_experiment(experiment);
    } else {
      const auto summary = runs::run(config, options, watcher);
      json() ? print_json(nlohmann::json::parse(runs::to_json(summary))) : print_summary(summary);
    }
    return kDone;
  }

 private:
  void print_settings(const runs::TrainConfig& config) const {
    const auto rows = runs::describe(config);
    if (json()) {
      print_json(nlohmann::json(std::map<std::string, std::string>(rows.begin(), rows.end())));
    } else {
      print(key_values(rows));
    }
  }

  TrainFlags flags_;
  bool dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train() {
  return std::make_unique<TrainCommand>();
}

}  // namespace respeft::cli
