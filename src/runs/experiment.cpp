#include <respeft/runs/experiment.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include <respeft/data/image/dataset.h>
#include <respeft/formats/file.h>

#include <respeft/core/text.h>
#include <respeft/runs/run_directory.h>
#include "src/formats/json.h"
#include "src/runs/grid.h"

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;

/// Seeds that protocol `honest` reports where none are given.
constexpr int64_t kHonestSeeds = 5;

std::string text_of(const Settings& settings) {
  std::vector<std::string> words;
  for (const auto& [name, value] : settings) words.push_back(fmt::format("{}={}", name, value));
  return text::join(words, ",");
}

using Json = nlohmann::ordered_json;

/// The figures that `run` left in the directory of a finished run.
class RunSummary {
 public:
  explicit RunSummary(const std::string& path)
      : RunSummary(path, Json::parse(formats::read_file(path), nullptr, /*allow_exceptions=*/false)) {}

  template <class T>
  T at(const std::string& key) const {
    try {
      return json_.at(key).get<T>();
    } catch (const nlohmann::json::exception&) {
      throw std::runtime_error(fmt::format("{}: no '{}' of a finished run", path_, key));
    }
  }

  /// The text of a key that older summaries lack.
  std::string text(const char* key, const char* otherwise) const {
    return json_.is_object() && json_.contains(key) ? at<std::string>(key) : otherwise;
  }

  /// The objects in a list.
  std::vector<RunSummary> parts(const char* key) const {
    std::vector<RunSummary> objects;
    for (auto& object : at<Json>(key)) objects.push_back(RunSummary(path_, std::move(object)));
    return objects;
  }

  /// The texts by name in `settings`, in their order.
  Settings settings() const {
    Settings settings;
    const auto texts = at<Json>("settings");
    for (const auto& [name, value] : texts.items()) settings.emplace_back(name, value.get<std::string>());
    return settings;
  }

 private:
  RunSummary(std::string path, Json json) : path_(std::move(path)), json_(std::move(json)) {}

  std::string path_;
  Json json_;
};

/// What a run and an experiment say in the same words.
void read_common(Experiment& experiment, const RunSummary& summary) {
  experiment.score = summary.text("score", "accuracy");
  experiment.unit = summary.text("unit", "images");
  experiment.test_examples = summary.at<int64_t>("test_" + experiment.unit);
  experiment.classes = summary.at<int64_t>("classes");
  experiment.trained_parameters = summary.at<int64_t>("trained_parameters");
}

/// Adds the run that counts in directory `out` to `experiment`.
void add_run(Experiment& experiment, const RunSummary& summary, int64_t seed, const std::string& out) {
  read_common(experiment, summary);
  experiment.runs.push_back(
      {seed, summary.at<int64_t>("epoch"), summary.at<double>("test_" + experiment.score), summary.at<double>("test_loss"), out});
  if (experiment.selection.empty()) experiment.selection = summary.at<std::string>("selection");
  experiment.seconds += summary.at<double>("seconds");
}

/// Runs `config`, or what is left of it.
RunSummary run_or_take(const TrainConfig& config, const RunOptions& options, train::Observer& observer) {
  const RunDirectory directory(config.out);
  if (const auto started = started_config(config.out)) check_continues(*started, config);
  const bool finished = fs::exists(directory.summary_path());
  if (!finished || RunSummary(directory.summary_path()).at<int64_t>("epochs") < config.last_epoch())
    run(config, {.resume = finished || directory.has_checkpoint(), .stop = options.stop}, observer);
  return RunSummary(directory.summary_path());
}

/// `config` as one run in a directory of its own.
TrainConfig single(TrainConfig config, const fs::path& folder) {
  config.out = (fs::path(config.out) / folder).string();
  config.seeds.clear();
  config.grid.clear();
  return config;
}

class Runs {
 public:
  Runs(const TrainConfig& config, const RunOptions& options, train::Observer& observer)
      : config_(config), options_(options), observer_(observer) {
    experiment_.config = config;
  }

  Experiment all() {
    TrainConfig reported = config_;
    if (config_.protocol == "honest") reported = choose();
    const auto seeds = reported_seeds(config_);
    for (size_t i = 0; i < seeds.size(); ++i) {
      if (seeds.size() > 1) observer_.note(fmt::format("seed {} ({} of {})", seeds[i], i + 1, seeds.size()));
      report(reported, seeds[i]);
    }
    return experiment_;
  }

 private:
  /// The configuration that each seed trains with.
  TrainConfig choose() {
    auto grid = parse_grid(config_.grid);
    if (grid.empty()) grid.emplace_back();
    std::optional<size_t> best;
    for (size_t i = 0; i < grid.size(); ++i) {
      observer_.note(grid.size() == 1 ? "choosing the epoch on val"
                                      : fmt::format("choosing on val: {} ({} of {})", text_of(grid[i]), i + 1, grid.size()));
      try_settings(grid[i]);
      if (!best || experiment_.candidates[i].val_score > experiment_.candidates[*best].val_score) best = i;
    }
    experiment_.chosen = best;
    const Candidate& chosen = experiment_.candidates[*best];
    experiment_.selection = fmt::format("epoch {}{} chosen on val (protocol 'honest': trained on trainval, each run tested once)",
                                        chosen.epoch, chosen.settings.empty() ? "" : " and " + text_of(chosen.settings));
    observer_.note(experiment_.selection);
    TrainConfig reported = with_settings(config_, chosen.settings);
    reported.protocol = "last";
    reported.train_split = data::to_string(data::Split::trainval);
    reported.stop_epoch = chosen.epoch;
    reported.eval_every = reported.eval_every_steps = 0;
    return reported;
  }

  void try_settings(const Settings& settings) {
    fs::path folder = "select";
    if (!settings.empty()) folder /= text_of(settings);
    TrainConfig config = single(with_settings(config_, settings), folder);
    config.protocol = "val";
    config.train_split = data::to_string(data::Split::train);
    config.final_test = false;
    if (config.eval_every == 0) config.eval_every = config.total_epochs();
    config.eval_every_steps = 0;  // an epoch is chosen, since each seed trains to the end of it
    const auto summary = run_or_take(resolve(config), options_, observer_);
    experiment_.candidates.push_back(
        {settings, summary.at<int64_t>("epoch"), summary.at<double>("val_" + summary.text("score", "accuracy")), config.out});
    experiment_.seconds += summary.at<double>("seconds");
  }

  void report(const TrainConfig& reported, int64_t seed) {
    TrainConfig config = is_experiment(config_) ? single(reported, fmt::format("seed-{}", seed)) : reported;
    config.seed = seed;
    add_run(experiment_, run_or_take(resolve(config), options_, observer_), seed, config.out);
  }

  const TrainConfig& config_;
  const RunOptions& options_;
  train::Observer& observer_;
  Experiment experiment_;
};

/// Whether runs of an experiment lie in the directory.
bool has_runs(const std::string& out) {
  if (!fs::is_directory(out)) return false;
  for (const auto& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && (name == "select" || name.starts_with("seed-"))) return true;
  }
  return false;
}

}  // namespace

bool is_experiment(const TrainConfig& config) {
  return config.protocol == "honest" || !config.seeds.empty();
}

std::vector<int64_t> reported_seeds(const TrainConfig& config) {
  auto seeds = parse_seeds(config.seeds);
  if (!seeds.empty()) return seeds;
  seeds.resize(config.protocol == "honest" ? kHonestSeeds : 1);
  std::iota(seeds.begin(), seeds.end(), config.seed);
  return seeds;
}

double Experiment::mean() const {
  double sum = 0.0;
  for (const auto& run : runs) sum += run.test_score;
  return sum / static_cast<double>(runs.size());
}

std::optional<double> Experiment::deviation() const {
  if (runs.size() < 2) return std::nullopt;
  double squares = 0.0;
  for (const auto& run : runs) squares += std::pow(run.test_score - mean(), 2);
  return std::sqrt(squares / static_cast<double>(runs.size() - 1));
}

Experiment run_experiment(const TrainConfig& config, const RunOptions& options, train::Observer& observer) {
  if (!config.final_test) throw std::invalid_argument("final_test: must be on for figures on test");
  if (options.ranks->size() > 1)
    throw std::invalid_argument(
        "protocol honest and seeds are several runs, which one process does after the other: use one rank");
  const RunDirectory directory(config.out);
  if (!options.resume && (directory.has_results() || has_runs(config.out)))
    throw std::invalid_argument(
        fmt::format("out: {} holds runs already; --resume continues them, or give another directory", config.out));
  if (!is_experiment(config)) return Runs(config, options, observer).all();
  if (config.protocol == "honest") {  // said before hours are spent, not after
    const auto splits = data::dataset_splits(config.data, config.dataset_options());
    if (std::find(splits.begin(), splits.end(), data::Split::trainval) == splits.end())
      throw std::invalid_argument(fmt::format("protocol: 'honest' needs a validation split, and {} has none", config.data));
    data::open_dataset(config.data, data::Split::test, config.dataset_options());
  }
  if (const auto started = started_config(config.out); started && options.resume) check_continues(*started, config);
  fs::create_directories(config.out);
  fs::remove(directory.summary_path());
  formats::write_file(directory.config_path(), to_toml(config));
  Experiment experiment = Runs(config, options, observer).all();
  formats::write_file(directory.summary_path(), to_json(experiment) + "\n");
  return experiment;
}

std::optional<Experiment> finished_experiment(const std::string& out) {
  const RunDirectory directory(out);
  const auto config = started_config(out);
  if (!config || !fs::exists(directory.summary_path())) return std::nullopt;
  const RunSummary summary(directory.summary_path());
  Experiment experiment;
  experiment.config = *config;
  experiment.config.out = fs::absolute(out).lexically_normal().string();
  if (!is_experiment(*config)) {
    add_run(experiment, summary, config->seed, experiment.config.out);
    return experiment;
  }
  experiment.selection = summary.at<std::string>("selection");
  read_common(experiment, summary);
  experiment.seconds = summary.at<double>("seconds");
  for (const auto& run : summary.parts("runs")) {
    experiment.runs.push_back({run.at<int64_t>("seed"), run.at<int64_t>("epoch"), run.at<double>("test_" + experiment.score),
                               run.at<double>("test_loss"), run.at<std::string>("out")});
  }
  if (experiment.runs.empty()) throw std::runtime_error(directory.summary_path() + ": no 'runs' of a finished experiment");
  if (config->protocol != "honest") return experiment;
  const auto chosen = summary.at<Json>("chosen").value("out", "");
  for (const auto& candidate : summary.parts("candidates")) {
    const auto place = candidate.at<std::string>("out");
    if (place == chosen) experiment.chosen = experiment.candidates.size();
    experiment.candidates.push_back(
        {candidate.settings(), candidate.at<int64_t>("epoch"), candidate.at<double>("val_" + experiment.score), place});
  }
  return experiment;
}

std::string to_json(const Experiment& e) {
  const std::string score = "test_" + e.score;
  nlohmann::ordered_json json = {
      {"recipe", e.config.recipe},
      {"task", e.config.task},
      {"model", e.config.model},
      {"method", e.config.method},
      {"data", e.config.data},
      {"out", e.config.out},
      {"protocol", e.config.protocol},
      {"selection", e.selection},
      {"unit", e.unit},
      {"test_" + e.unit, e.test_examples},
      {"score", e.score},
      {score, e.mean()},
      {score + "_deviation", nullptr},
      {"classes", e.classes},
      {"trained_parameters", e.trained_parameters},
      {"seconds", e.seconds},
      {"runs", nlohmann::ordered_json::array()},
  };
  if (const auto deviation = e.deviation()) json[score + "_deviation"] = *deviation;
  for (const auto& run : e.runs) {
    json["runs"].push_back(
        {{"seed", run.seed}, {"epoch", run.epoch}, {score, run.test_score}, {"test_loss", run.test_loss}, {"out", run.out}});
  }
  for (const auto& candidate : e.candidates) {
    nlohmann::ordered_json settings = nlohmann::ordered_json::object();
    for (const auto& [name, value] : candidate.settings) settings[name] = value;
    json["candidates"].push_back(
        {{"settings", settings}, {"epoch", candidate.epoch}, {"val_" + e.score, candidate.val_score}, {"out", candidate.out}});
  }
  if (e.chosen) json["chosen"] = json["candidates"][*e.chosen];
  return formats::to_text(json, 2);
}

}  // namespace respeft::runs
