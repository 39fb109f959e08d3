#include <respeft/runs/run.h>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/adapters/adapter_file.h>
#include <respeft/core/runtime.h>
#include <respeft/core/text.h>
#include <respeft/formats/safetensors.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>
#include <respeft/nn/names.h>
#include <respeft/tasks/features.h>
#include <respeft/tasks/registry.h>
#include <respeft/train/trainer.h>

#include <respeft/runs/run_directory.h>
#include "src/formats/json.h"

namespace respeft::runs {
namespace {

tasks::DataOptions data_options(const TrainConfig& config) {
  tasks::DataOptions options;
  options.data = config.data;
  options.dataset = config.dataset_options();
  options.train_split = config.train_split;
  options.val = config.protocol == "val";
  options.test = config.final_test;
  options.train_samples = config.train_samples;
  options.test_samples = config.test_samples;
  options.seed = config.seed;
  options.image_size = config.image_size;
  options.image = config;
  return options;
}

/// The model with its base's weights; where the configuration names none, random ones that are kept in the run.
std::shared_ptr<models::Model> make_model(TrainConfig& config, int64_t outputs, const Runtime& runtime,
                                          const RunDirectory& directory, Ranks& ranks, train::Observer& observer) {
  models::ModelOptions options;
  options.num_classes = outputs;
  options.image_size = config.image_size;
  options.pool = config.pool;
  options.drop_path = config.drop_path;
  options.branch_dropout = config.branch_dropout;
  options.device = runtime.device();
  runtime.seed(static_cast<uint64_t>(config.seed));
  auto model = models::create(config.model, options);
  if (config.weights.empty()) {
    config.weights = std::filesystem::absolute(directory.random_base_path()).string();
    if (ranks.writes_files()) formats::save_safetensors(config.weights, models::plain_state(*model));
    ranks.barrier();
    observer.note(fmt::format("no weights given: the base is drawn at random and kept as {}", config.weights));
  }
  const auto report = models::load_weights(*model, config.weights, config.state_dict);
  const bool has_head = std::none_of(report.missing.begin(), report.missing.end(), nn::is_head_name);
  if (config.zero_head) {
    model->reset_head(outputs);
  } else if (!has_head) {
    throw std::invalid_argument(fmt::format("zero_head: false, but {} has no head for {} classes", config.weights, outputs));
  }
  return model;
}

bool trains_head_alone(const Attachment& attachment) {
  return std::all_of(attachment.trainable().begin(), attachment.trainable().end(),
                     [](const auto& named) { return nn::is_head_name(named.first); });
}

/// The settings by which the features that the head reads differ from epoch to epoch.
std::vector<std::string> settings_that_change_features(const TrainConfig& config) {
  const std::pair<const char*, bool> settings[] = {{"random_crop", config.random_crop},
                                                   {"random_resized_crop", config.random_resized_crop > 0},
                                                   {"flip", config.flip},
                                                   {"auto_augment", !config.auto_augment.empty()},
                                                   {"random_erasing", config.random_erasing > 0},
                                                   {"mixup", config.mixup > 0},
                                                   {"cutmix", config.cutmix > 0},
                                                   {"drop_path", config.drop_path > 0},
                                                   {"branch_dropout", config.branch_dropout > 0}};
  std::vector<std::string> names;
  for (const auto& [name, on] : settings) {
    if (on) names.emplace_back(name);
  }
  return names;
}

void precompute_features(tasks::Assignment& assignment, models::Model& model, const Runtime& runtime, const TrainConfig& config,
                         const RunOptions& options, train::Observer& observer) {
  observer.note("only the head is trained: the features it reads are computed once");
  tasks::precompute_features(assignment, model, runtime, config.eval_batch_size,
                             [&](const std::string& split, int64_t done, int64_t total) {
                               observer.progress({"features of " + split, done, total, assignment.task->unit(), ""});
                               if (options.stop != nullptr && options.stop->load())
                                 throw Interrupted("stopped while computing features");
                             });
}

train::TrainingJob make_job(const tasks::Assignment& assignment, const std::shared_ptr<models::Model>& model,
                            const std::shared_ptr<Attachment>& attachment) {
  train::TrainingJob job;
  job.task = assignment.task;
  job.forward = [task = assignment.task, model](const Batch& batch) { return task->forward(*model, batch); };
  job.module = model;
  job.attachment = attachment;
  job.train = assignment.train;
  job.val = assignment.val;
  job.test = assignment.test;
  return job;
}

std::string place(const train::RunProgress& progress) {
  return progress.epoch_steps > 0 ? fmt::format("step {}", progress.steps) : fmt::format("epoch {}", progress.epochs);
}

/// The directory's checkpoint, which must have been made on the base with hash `base`; nothing where there is none yet.
std::optional<train::Checkpoint> load_checkpoint(const RunDirectory& directory, const std::string& base,
                                                 train::Observer& observer) {
  if (!directory.has_checkpoint()) {
    observer.note("no checkpoint yet: starting from the beginning");
    return std::nullopt;
  }
  train::Checkpoint checkpoint = directory.load();
  if (checkpoint.frozen_sha256 != base)
    throw std::runtime_error(
        fmt::format("{}: was made on other base weights than those loaded now", directory.checkpoint_path()));
  observer.note("going on after " + place(checkpoint.progress));
  return checkpoint;
}

void restore(train::Trainer& trainer, const train::Checkpoint& checkpoint, const RunDirectory& directory) {
  try {
    trainer.restore(checkpoint);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", directory.checkpoint_path(), error.what()));
  }
}

/// Writes what training produces into the run's directory, and passes the rest on.
class Keeper : public train::Observer {
 public:
  Keeper(const RunDirectory& directory, std::string base, bool writes, std::function<double()> seconds, train::Observer& observer)
      : directory_(directory), base_(std::move(base)), writes_(writes), seconds_(std::move(seconds)), observer_(observer) {}

  void note(const std::string& line) override { observer_.note(line); }
  void progress(const train::WorkProgress& work) override { observer_.progress(work); }
  void epoch(const train::EpochRecord& record, int64_t total) override {
    if (writes_) directory_.append_metrics(record);
    observer_.epoch(record, total);
  }
  void checkpoint(const train::Trainer& trainer) override {
    if (writes_) {
      train::Checkpoint checkpoint = trainer.checkpoint();
      checkpoint.frozen_sha256 = base_;
      checkpoint.progress.seconds = seconds_();
      directory_.save(checkpoint);
    }
    kept_ = trainer.progress();
    observer_.checkpoint(trainer);
  }

  void set_kept(const train::RunProgress& progress) { kept_ = progress; }
  /// What an interrupted run has kept, as a sentence's second half.
  std::string kept() const {
    if (kept_.steps == 0) return "nothing is kept yet: --resume starts from the beginning";
    const std::string steps = kept_.epoch_steps > 0 ? fmt::format(" and {} steps", kept_.epoch_steps) : "";
    return fmt::format("what {} epochs{} trained is kept: --resume goes on after {}", kept_.epochs, steps, place(kept_));
  }

 private:
  const RunDirectory& directory_;
  std::string base_;
  bool writes_;
  std::function<double()> seconds_;
  train::Observer& observer_;
  train::RunProgress kept_;
};

/// All of an adapter file that is known before training, so that nothing but writing is left to fail after it.
adapters::AdapterFile adapter_file(const TrainConfig& config, const std::shared_ptr<Attachment>& attachment,
                                   const std::vector<std::string>& class_names) {
  adapters::AdapterFile file;
  file.info.method = attachment->method();
  file.info.model = config.model;
  file.info.options = attachment->options();
  file.info.weights_sha256 = formats::weights_sha256(config.weights, config.state_dict);
  file.info.preprocessing = config.preprocessing();
  file.info.class_names = class_names;
  file.info.pool = config.pool;
  return file;
}

/// Trains what is left. The adapter is written as soon as it is chosen, before the last evaluation.
train::Outcome train_rest(train::Trainer& trainer, Keeper& keeper, const std::function<void()>& write_adapter) {
  try {
    while (!trainer.done()) trainer.run_epoch();
    train::Outcome outcome = trainer.choose();
    write_adapter();
    trainer.test(outcome);
    return outcome;
  } catch (const Interrupted& error) {
    throw Interrupted(fmt::format("{}; {}", error.what(), keeper.kept()));
  }
}

/// Makes the run's directory; a set-up that fails before anything is written leaves none.
class MadeDirectory {
 public:
  MadeDirectory(const RunDirectory& directory, Ranks& ranks) : directory_(directory), writes_(ranks.writes_files()) {
    if (writes_) directory_.create();
    ranks.barrier();
  }
  MadeDirectory(const MadeDirectory&) = delete;
  MadeDirectory& operator=(const MadeDirectory&) = delete;
  ~MadeDirectory() {
    if (writes_) directory_.remove_if_empty();
  }

 private:
  const RunDirectory& directory_;
  bool writes_;
};

}  // namespace

std::optional<TrainConfig> started_config(const std::string& out) {
  const RunDirectory directory(out);
  if (!directory.has_config()) return std::nullopt;
  return read_config(directory.config_path());
}

void check_continues(const TrainConfig& started, const TrainConfig& asked) {
  const auto lines = conflicts(started, asked);
  if (!lines.empty()) throw std::invalid_argument(fmt::format("cannot resume {}: {}", asked.out, text::join(lines, "; ")));
}

Summary run(TrainConfig config, const RunOptions& options, train::Observer& observer) {
  if (config.protocol == "honest" || !config.seeds.empty())
    throw std::invalid_argument("protocol honest and seeds are several runs: respeft/runs/experiment.h");
  const auto start = std::chrono::steady_clock::now();
  Ranks& ranks = *options.ranks;
  const RunDirectory directory(config.out);
  if (!options.resume && directory.has_results())
    throw std::invalid_argument(
        fmt::format("out: {} holds a run already; --resume continues it, or give another directory", config.out));
  tasks::Assignment assignment = tasks::find(config.task).open(data_options(config));
  config.train_split = assignment.train_split;
  if (options.resume) directory.check_data(assignment.fingerprint);
  const MadeDirectory made(directory, ranks);
  const Runtime runtime({.precision = config.precision, .threads = config.threads});
  const auto model = make_model(config, assignment.outputs, runtime, directory, ranks, observer);
  runtime.seed(static_cast<uint64_t>(config.seed));
  const std::string base = models::base_sha256(*model);  // without what a method registers in the model
  const auto attachment = attach(*model, *methods::create(config.method, config.method_options));
  adapters::AdapterFile adapter = adapter_file(config, attachment, assignment.class_names);

  std::optional<train::Checkpoint> checkpoint;
  if (options.resume) checkpoint = load_checkpoint(directory, base, observer);
  const bool trained = checkpoint && checkpoint->progress.epochs >= config.last_epoch() && !checkpoint->progress.pending;
  if (!trained && trains_head_alone(*attachment)) {
    const auto changing = settings_that_change_features(config);
    if (changing.empty() && assignment.fixed_inputs) {
      precompute_features(assignment, *model, runtime, config, options, observer);
    } else {
      observer.note(fmt::format("only the head is trained, but its features are computed anew in every epoch because of {}",
                                text::join(changing, ", ")));
    }
  }
  const double before = checkpoint ? checkpoint->progress.seconds : 0.0;
  const auto seconds = [&] { return before + std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  Keeper keeper(directory, base, ranks.writes_files(), seconds, observer);
  train::Trainer trainer(make_job(assignment, model, attachment), config, runtime, ranks, keeper, options.stop);
  if (checkpoint) restore(trainer, *checkpoint, directory);
  keeper.set_kept(trainer.progress());
  if (ranks.writes_files()) {
    directory.begin(config);
    directory.keep_data(assignment.fingerprint);
    directory.truncate_metrics(trainer.progress());
  }

  Summary summary;
  summary.outcome = train_rest(trainer, keeper, [&] {
    adapter.tensors = adapters::trained_state(*model);
    if (ranks.writes_files()) directory.write_adapter(adapter);
  });
  summary.progress = trainer.progress();
  summary.trained_parameters = attachment->parameter_count();
  for (const auto& [name, tensor] : attachment->trainable())
    summary.head_parameters += nn::is_head_name(name) ? tensor.numel() : 0;
  summary.unit = assignment.task->unit();
  summary.score = assignment.task->score_name();
  summary.train_examples = assignment.train->size();
  summary.classes = assignment.outputs;
  summary.seconds = seconds();
  summary.peak_rss = runtime.peak_memory();
  summary.config = std::move(config);
  if (ranks.writes_files()) directory.write_summary(to_json(summary));
  return summary;
}

std::string to_json(const Summary& s) {
  nlohmann::ordered_json json = {
      {"recipe", s.config.recipe},
      {"task", s.config.task},
      {"model", s.config.model},
      {"method", s.config.method},
      {"data", s.config.data},
      {"out", s.config.out},
      {"protocol", s.config.protocol},
      {"train_split", s.config.train_split},
      {"seed", s.config.seed},
      {"selection", s.outcome.selection},
      {"unit", s.unit},
      {"score", s.score},
      {"epoch", s.outcome.chosen.epoch},
      {"epochs", s.progress.epochs},
      {"steps", s.progress.steps},
      {"train_" + s.unit, s.train_examples},
  };
  if (s.outcome.chosen.step > 0) json["step"] = s.outcome.chosen.step;
  for (const auto& [name, value] : s.outcome.chosen.train.values()) json["train_" + name] = value;
  json["classes"] = s.classes;
  json["trained_parameters"] = s.trained_parameters;
  json["adapter_parameters"] = s.trained_parameters - s.head_parameters;
  json["head_parameters"] = s.head_parameters;
  json["seconds"] = s.seconds;
  json["train_seconds"] = s.progress.train_seconds;
  json["eval_seconds"] = s.progress.eval_seconds;
  json["data_wait_share"] = s.progress.data_wait_share();
  json["peak_rss"] = s.peak_rss;
  for (const auto& evaluation : {s.outcome.chosen.evaluation, s.outcome.test}) {
    if (!evaluation) continue;
    json[evaluation->split + "_" + evaluation->unit] = evaluation->examples;
    for (const auto& [name, value] : evaluation->metrics.values()) json[evaluation->split + "_" + name] = value;
  }
  return formats::to_text(json, 2);
}

}  // namespace respeft::runs
