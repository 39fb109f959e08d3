#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include <respeft/methods/method.h>
#include <respeft/train/interrupt.h>
#include <respeft/train/run.h>

#include "src/cli/command.h"
#include "src/cli/flags.h"
#include "src/cli/output.h"
#include "src/util/text.h"

namespace respeft::cli {
namespace {

/// Epochs of fewer seconds are only worth a line when they are evaluated.
constexpr double kQuickEpoch = 1.0;

/// Shows on stderr what training does.
class Watcher : public train::Observer {
 public:
  void note(const std::string& line) override {
    progress_.reset();
    cli::note(line);
  }

  void progress(const std::string& what, int64_t done, int64_t total, const std::string& remark) override {
    if (!progress_ || what != what_) {
      progress_.reset();
      progress_ = std::make_unique<Progress>(what, total, "images");
      what_ = what;
    }
    progress_->update(done, remark);
  }

  void epoch(const train::EpochRecord& record, int64_t total) override {
    progress_.reset();
    if (!record.evaluation && record.seconds < kQuickEpoch) return;
    std::string line = fmt::format("epoch {}/{}: lr {:.2e}, train loss {:.4f}, train accuracy {}", record.epoch, total, record.lr,
                                   record.train_loss, percent(record.train_accuracy));
    if (record.evaluation)
      line += fmt::format(", {} accuracy {}", record.evaluation->split, percent(record.evaluation->accuracy));
    cli::note(line + fmt::format(", {}", seconds(record.seconds)));
  }

 private:
  std::unique_ptr<Progress> progress_;
  std::string what_;
};

/// `train`: every field of `TrainConfig` is a flag.
class TrainCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app_ = &app;
    const train::TrainConfig defaults;
    const auto texts = train::describe(defaults);
    size_t index = 0;
    train::visit_fields(defaults, [&](const train::FieldInfo& info, const auto& value) {
      const std::string name = info.name, text = texts[index++].second;
      if (name == "threads") return;  // every command has it
      if (name == "method") return method_.declare(app, text);
      declare_field(app, info, value, text);
    });
    app.add_flag("--resume", resume_, "go on with the run in --out from its last checkpoint")->group("Run");
    app.add_flag("--dry-run", dry_run_, "print every setting as it would be used, and stop")->group("Run");
  }

  int run() override {
    const train::TrainConfig config = make_config();
    if (dry_run_) {
      print_settings(config);
      return kDone;
    }
    note(fmt::format("{} with {} on {} -> {}", config.model, config.method, config.data, config.out));
    const train::InterruptGuard guard;
    Watcher watcher;
    const auto summary = train::run(config, {.resume = resume_, .stop = &train::InterruptGuard::flag()}, watcher);
    if (json()) {
      print_json(nlohmann::json::parse(train::to_json(summary)));
    } else {
      print_summary(summary);
    }
    return kDone;
  }

 private:
  template <class T>
  void declare_field(CLI::App& app, const train::FieldInfo& info, const T& value, const std::string& text) {
    const std::string name = info.name, flag = flag_name(name);
    if constexpr (std::is_same_v<T, bool>) {
      const auto keep = [this, name](int64_t count) { given_.emplace_back(name, count > 0 ? "true" : "false"); };
      app.add_flag_function(flag, keep, info.help + std::string(value ? "; on unless " + flag + "=false" : ""))
          ->group(info.group);
    } else {
      const auto keep = [this, name](const std::string& given) { given_.emplace_back(name, given); };
      const char* type = std::is_same_v<T, std::string> ? "TEXT"
                         : std::is_same_v<T, int64_t>   ? "N"
                         : std::is_same_v<T, double>    ? "X"
                                                        : "R,G,B";
      auto* option = app.add_option_function<std::string>(flag, keep, info.help)->type_name(type)->group(info.group);
      if (!text.empty()) option->default_str(text);
    }
  }

  /// What the run's own file says when it is resumed, then the flags (those of `--config` too) over it.
  train::TrainConfig make_config() const {
    std::optional<train::TrainConfig> started;
    if (resume_) started = train::started_config(given("out"));
    train::TrainConfig config = started.value_or(train::TrainConfig());
    check_config_file(config);
    for (const auto& [name, text] : given_) {
      try {
        train::set_field(config, name, text);
      } catch (const std::invalid_argument& error) {
        throw std::invalid_argument(flag_name(name) + std::string(error.what()).substr(name.size()));  // "lr: …" -> "--lr: …"
      }
    }
    if (threads() > 0) config.threads = threads();
    apply_method(config);
    config = train::resolve(config);
    if (started) train::check_continues(*started, config);
    return config;
  }

  void apply_method(train::TrainConfig& config) const {
    if (app_->count("--method") > 0) {
      if (method_.name != config.method) config.method_options.clear();
      config.method = method_.name;
    }
    for (const auto& [name, value] : method_.options(config.method)) config.method_options[name] = value;
  }

  /// Checks the `--config` file by itself first: its errors name the line.
  void check_config_file(train::TrainConfig defaults) const {
    const std::string path = app_->get_config_ptr()->count() > 0 ? app_->get_config_ptr()->as<std::string>() : "";
    if (path.empty()) return;
    if (app_->count("--method") > 0) defaults.method = method_.name;
    train::read_config(path, defaults);
  }

  std::string given(const std::string& field) const {
    for (const auto& [name, text] : given_) {
      if (name == field) return text;
    }
    throw std::invalid_argument(fmt::format("--resume needs --{}", field));
  }

  void print_settings(const train::TrainConfig& config) const {
    const auto rows = train::describe(config);
    if (json()) {
      print_json(nlohmann::json(std::map<std::string, std::string>(rows.begin(), rows.end())));
    } else {
      print(key_values(rows));
    }
  }

  static void print_summary(const train::Summary& s) {
    print(key_values(
        {{"model", s.config.model},
         {"method", s.config.method},
         {"trained parameters", fmt::format("{} (head: {})", count(s.trained_parameters), count(s.head_parameters))},
         {"epoch", fmt::format("{} of {}: {}", s.outcome.chosen.epoch, s.progress.epochs, s.outcome.selection)},
         {"train loss", fmt::format("{:.4f}", s.outcome.chosen.train_loss)},
         {"test accuracy", fmt::format("{} of {} images", percent(s.outcome.test.accuracy), count(s.outcome.test.images))},
         {"test loss", fmt::format("{:.4f}", s.outcome.test.loss)},
         {"time", seconds(s.seconds)},
         {"peak memory", bytes(s.peak_rss)},
         {"written", s.config.out}}));
  }

  CLI::App* app_ = nullptr;
  std::vector<std::pair<std::string, std::string>> given_;  ///< fields by name, as text
  MethodFlags method_;
  bool resume_ = false, dry_run_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train() {
  return std::make_unique<TrainCommand>();
}

}  // namespace respeft::cli
