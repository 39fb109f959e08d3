#include "src/cli/training.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

namespace respeft::cli {
namespace {

/// Epochs of fewer seconds are only worth a line when they are evaluated.
constexpr double kQuickEpoch = 1.0;

using Rows = std::vector<std::pair<std::string, std::string>>;

/// A row for each metric of a split but the loss, which comes last and alone where `with_loss`.
void add_metrics(Rows& rows, const train::Evaluation& e, bool with_loss) {
  for (const auto& [name, value] : e.metrics.values()) {
    if (name == "loss") continue;
    rows.emplace_back(fmt::format("{} {}", e.split, name),
                      fmt::format("{} of {} {}", score_text(name, value), count(e.examples), e.unit));
  }
  if (with_loss && e.metrics.contains("loss")) rows.emplace_back(e.split + " loss", score_text("loss", e.metrics.at("loss")));
}

std::string settings_text(const runs::Candidate& candidate) {
  std::string text;
  for (const auto& [name, value] : candidate.settings) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  return text;
}

void print_candidates(const runs::Experiment& experiment) {
  if (experiment.candidates.size() < 2) return;
  Table table({"chosen from", "best epoch", "val " + experiment.score});
  for (const auto& candidate : experiment.candidates) {
    table.add({settings_text(candidate), count(candidate.epoch), score_text(experiment.score, candidate.val_score)});
  }
  print(table.text() + "\n");
}

}  // namespace

void Watcher::note(const std::string& line) {
  progress_.reset();
  cli::note(line);
}

void Watcher::progress(const train::WorkProgress& work) {
  if (!progress_ || work.what != what_) {
    progress_.reset();
    progress_ = std::make_unique<Progress>(work.what, work.total, work.unit);
    what_ = work.what;
  }
  progress_->update(work.done, work.remark);
}

void Watcher::epoch(const train::EpochRecord& record, int64_t total) {
  progress_.reset();
  if (!record.evaluation && record.seconds < kQuickEpoch) return;
  std::string line = fmt::format("epoch {}/{}", record.epoch, total);
  if (record.step > 0) line += fmt::format(", step {}", record.step);
  line += fmt::format(": lr {:.2e}", record.lr);
  for (const auto& [name, value] : record.train.values()) line += fmt::format(", train {} {}", name, score_text(name, value));
  if (record.evaluation) {
    for (const auto& [name, value] : record.evaluation->metrics.values()) {
      if (name != "loss") line += fmt::format(", {} {} {}", record.evaluation->split, name, score_text(name, value));
    }
  }
  cli::note(line + fmt::format(", {}", seconds(record.seconds)));
}

std::string score_text(const std::string& name, double value, std::optional<double> deviation) {
  if (name == "accuracy") return deviation ? fmt::format("{:.2f} ± {:.2f} %", 100 * value, 100 * *deviation) : percent(value);
  return deviation ? fmt::format("{:.4f} ± {:.4f}", value, *deviation) : fmt::format("{:.4f}", value);
}

void print_summary(const runs::Summary& s) {
  const auto& chosen = s.outcome.chosen;
  Rows rows = {{"model", s.config.model},
               {"method", s.config.method},
               {"trained parameters", fmt::format("{} (head: {})", count(s.trained_parameters), count(s.head_parameters))},
               {"trained on", fmt::format("{}, {} {}", s.config.train_split, count(s.train_examples), s.unit)},
               {"protocol", s.config.protocol},
               {"epoch", fmt::format("{} of {}: {}", chosen.epoch, s.progress.epochs, s.outcome.selection)},
               {"train loss", score_text("loss", chosen.train.at("loss"))}};
  if (chosen.evaluation && chosen.evaluation->split == "val") add_metrics(rows, *chosen.evaluation, /*with_loss=*/false);
  if (s.outcome.test) add_metrics(rows, *s.outcome.test, /*with_loss=*/true);
  rows.insert(rows.end(), {{"time", seconds(s.seconds)},
                           {"waited for data", fmt::format("{} of training", percent(s.progress.data_wait_share()))},
                           {"peak memory", bytes(s.peak_rss)},
                           {"written", s.config.out}});
  print(key_values(rows));
}

void print_experiment(const runs::Experiment& e) {
  print_candidates(e);
  Table runs({"seed", "epoch", "test " + e.score, "test loss", "run"});
  for (const auto& run : e.runs) {
    runs.add({std::to_string(run.seed), count(run.epoch), score_text(e.score, run.test_score),
              fmt::format("{:.4f}", run.test_loss), run.out});
  }
  print(runs.text() + "\n");
  print(key_values({{"model", e.config.model},
                    {"method", e.config.method},
                    {"trained parameters", count(e.trained_parameters)},
                    {"protocol", fmt::format("{}: {}", e.config.protocol, e.selection)},
                    {"test " + e.score,
                     fmt::format("{} of {} {}{}", score_text(e.score, e.mean(), e.deviation()), count(e.test_examples), e.unit,
                                 e.deviation() ? fmt::format(", mean ± deviation of {} seeds", e.runs.size()) : "")},
                    {"time", seconds(e.seconds)},
                    {"written", e.config.out}}));
}

}  // namespace respeft::cli
