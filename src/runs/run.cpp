#include <respeft/runs/run.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/image/augment.h>
#include <respeft/data/image/fingerprint.h>
#include <respeft/formats/file.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>

#include <respeft/core/text.h>
#include "src/core/autocast.h"
#include "src/runs/run_directory.h"

namespace respeft::runs {
namespace {

/// Up to this size, a split's resized images are kept in memory after their first use.
constexpr int64_t kCacheBytes = int64_t{1} << 29;

struct Data {
  data::DatasetPtr train, val, test;
};

bool has_split(const std::vector<data::Split>& splits, data::Split split) {
  return std::find(splits.begin(), splits.end(), split) != splits.end();
}

/// Fills in `train_split` where it is left open.
Data open_data(TrainConfig& config) {
  const auto options = config.dataset_options();
  const auto splits = data::dataset_splits(config.data, options);
  if (config.train_split.empty()) {
    const bool all = config.protocol != "val" && has_split(splits, data::Split::trainval);
    config.train_split = data::to_string(all ? data::Split::trainval : data::Split::train);
  }
  Data data;
  data.train = data::open_dataset(config.data, data::split_from_name(config.train_split), options);
  if (config.train_samples > 0) data.train = data::subset(data.train, config.train_samples, static_cast<uint64_t>(config.seed));
  if (config.final_test) {
    data.test = data::open_dataset(config.data, data::Split::test, options);
    if (config.test_samples > 0) data.test = data::first(data.test, config.test_samples);
  }
  if (config.protocol == "val") {
    if (!has_split(splits, data::Split::val))
      throw std::invalid_argument(fmt::format("protocol: 'val' needs a validation split, and {} has none", config.data));
    data.val = data::open_dataset(config.data, data::Split::val, options);
  }
  for (const auto& other : {data.val, data.test}) {
    if (other && other->class_names() != data.train->class_names())
      throw std::runtime_error(
          fmt::format("{}: its classes are not those of {}", other->description(), data.train->description()));
  }
  return data;
}

/// Identifies the data that a run reads.
data::DataFingerprint fingerprint_of(const Data& data, const TrainConfig& config) {
  const std::string root = config.data.substr(config.data.find(':') + 1);
  data::DataFingerprint result{data.train->class_names(), {}};
  for (const auto& [name, split] : {std::pair("train", data.train), std::pair("val", data.val), std::pair("test", data.test)}) {
    if (split) result.splits[name] = data::fingerprint(*split, root);
  }
  return result;
}

/// How training images are changed at random.
data::TransformOptions augmentation(const TrainConfig& config) {
  data::TransformOptions options;
  std::optional<data::Filter> filter;
  if (config.train_interpolation != "random") filter = data::filter_from_name(config.train_interpolation);
  if (config.random_resized_crop > 0) options.random_resized_crop = {.min_area = config.random_resized_crop, .filter = filter};
  options.random_crop = config.random_crop;
  options.random_flip = config.flip;
  if (!config.auto_augment.empty()) {
    options.rand_augment = std::make_shared<data::RandAugment>(config.auto_augment, data::fill_color(config.mean), filter);
  }
  if (config.random_erasing > 0) {
    options.random_erasing = std::make_shared<data::RandomErasing>(data::RandomErasingOptions{
        .probability = config.random_erasing, .mode = config.random_erasing_mode, .max_count = config.random_erasing_count});
  }
  return options;
}

/// The images of a split as the model reads them, kept in memory where they are few.
std::shared_ptr<const Source> open_source(data::DatasetPtr dataset, const TrainConfig& config, bool random) {
  const data::Transform transform(config.preprocessing(), random ? augmentation(config) : data::TransformOptions());
  if (transform.reads_resized() && dataset->size() * data::cached_bytes(transform) <= kCacheBytes)
    dataset = data::cached(dataset, transform);
  return image_source(dataset, transform, config.workers);
}

std::shared_ptr<models::Model> make_model(TrainConfig& config, int64_t classes, const RunDirectory& directory,
                                               Observer& observer) {
  models::ModelOptions options;
  options.num_classes = classes;
  options.image_size = config.image_size;
  options.pool = config.pool;
  options.drop_path = config.drop_path;
  options.branch_dropout = config.branch_dropout;
  at::manual_seed(static_cast<uint64_t>(config.seed));
  auto model = models::create(config.model, options);
  if (config.weights.empty()) {
    config.weights = std::filesystem::absolute(directory.random_base_path()).string();
    formats::save_safetensors(config.weights, models::plain_state(*model));
    observer.note(fmt::format("no weights given: the base is drawn at random and kept as {}", config.weights));
  }
  const auto report = models::load_weights(*model, config.weights);
  const bool has_head =
      std::none_of(report.missing.begin(), report.missing.end(), [](auto& key) { return key.starts_with("head."); });
  if (config.zero_head) {
    model->reset_head(classes);
  } else if (!has_head) {
    throw std::invalid_argument(fmt::format("zero_head: false, but {} has no head for {} classes", config.weights, classes));
  }
  return model;
}

/// Whether the features that the head reads are the same in every epoch.
bool features_are_fixed(const TrainConfig& config, const std::shared_ptr<Attachment>& attachment) {
  const auto in_head = [](const auto& named) { return named.first.starts_with("head."); };
  return !config.random_crop && config.random_resized_crop == 0 && !config.flip && config.auto_augment.empty() &&
         config.random_erasing == 0 && !config.mixes() && config.drop_path == 0 && config.branch_dropout == 0 &&
         std::all_of(attachment->trainable().begin(), attachment->trainable().end(), in_head);
}

/// Replaces the images by their features, and the model by its head.
void precompute_features(Task& task, models::Model& model, const TrainConfig& config, const RunOptions& options,
                         Observer& observer) {
  observer.note("only the head is trained: the features it reads are computed once");
  model.eval();
  const auto features = [&](const std::shared_ptr<const Source>& source, const std::string& name) {
    return precompute(
        *source,
        [&](const at::Tensor& images) {
          const Autocast autocast(config.precision);
          nn::ForwardPass pass;
          return model.features(Batch{{model.input().name, images}}, pass);
        },
        config.eval_batch_size,
        [&](int64_t done) {
          observer.progress("features of " + name, done, source->size(), "");
          if (options.stop != nullptr && options.stop->load()) throw Interrupted("stopped while computing features");
        });
  };
  task.train = features(task.train, "train");
  if (task.val) task.val = features(task.val, "val");
  if (task.test) task.test = features(task.test, "test");
  task.forward = [&model](const at::Tensor& inputs) { return model.classify(inputs); };
}

Task make_task(std::shared_ptr<models::Model> model, const std::shared_ptr<Attachment>& attachment, const Data& data,
               const TrainConfig& config) {
  Task task;
  task.forward = [&model = *model](const at::Tensor& images) { return model.forward(images); };
  task.module = model;
  task.trained = attachment->trainable();
  task.recorded = attachment->state();
  if (attachment->changes_parameters()) task.hook = attachment;
  task.train = open_source(data.train, config, true);
  if (data.val) task.val = open_source(data.val, config, false);
  if (data.test) task.test = open_source(data.test, config, false);
  return task;
}

/// The directory's checkpoint, which must have been made on the base with hash `base`; nothing where there is none yet.
std::optional<Checkpoint> load_checkpoint(const RunDirectory& directory, const std::string& base, Observer& observer) {
  if (!directory.has_checkpoint()) {
    observer.note("no checkpoint yet: starting from the beginning");
    return std::nullopt;
  }
  Checkpoint checkpoint = directory.load();
  if (checkpoint.base_sha256 != base)
    throw std::runtime_error(
        fmt::format("{}: was made on other base weights than those loaded now", directory.checkpoint_path()));
  observer.note(fmt::format("going on after epoch {}", checkpoint.progress.epochs));
  return checkpoint;
}

void restore(Trainer& trainer, const Checkpoint& checkpoint, const RunDirectory& directory) {
  try {
    trainer.restore(checkpoint);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", directory.checkpoint_path(), error.what()));
  }
}

/// Trains what is left, epoch by epoch; after each, its line and its checkpoint are on the disk.
Outcome train(Trainer& trainer, const RunDirectory& directory, const std::string& base, const std::function<double()>& seconds) {
  int64_t kept = trainer.progress().epochs;
  try {
    while (!trainer.done()) {
      directory.append_metrics(trainer.run_epoch());
      Checkpoint checkpoint = trainer.checkpoint();
      checkpoint.base_sha256 = base;
      checkpoint.progress.seconds = seconds();
      directory.save(checkpoint);
      kept = trainer.progress().epochs;
    }
    return trainer.finish();
  } catch (const Interrupted& error) {
    if (kept == 0) throw Interrupted(fmt::format("{}; nothing is kept yet: --resume starts from the beginning", error.what()));
    throw Interrupted(
        fmt::format("{}; what {} epochs trained is kept: --resume goes on after epoch {}", error.what(), kept, kept));
  }
}

adapters::AdapterFile adapter_file(const TrainConfig& config, const models::Model& model, const std::shared_ptr<Attachment>& attachment,
                             const std::vector<std::string>& class_names) {
  adapters::AdapterFile file;
  file.info.method = attachment->method();
  file.info.model = config.model;
  file.info.options = attachment->options();
  file.info.weights_sha256 = formats::weights_sha256(config.weights);
  file.info.preprocessing = config.preprocessing();
  file.info.class_names = class_names;
  file.info.pool = config.pool;
  file.tensors = adapters::trained_state(model);
  return file;
}

/// Makes the run's directory; a set-up that fails before anything is written leaves none.
class MadeDirectory {
 public:
  explicit MadeDirectory(const RunDirectory& directory) : directory_(directory) { directory_.create(); }
  MadeDirectory(const MadeDirectory&) = delete;
  MadeDirectory& operator=(const MadeDirectory&) = delete;
  ~MadeDirectory() { directory_.remove_if_empty(); }

 private:
  const RunDirectory& directory_;
};

int64_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

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

Summary run(TrainConfig config, const RunOptions& options, Observer& observer) {
  if (config.protocol == "honest" || !config.seeds.empty())
    throw std::invalid_argument("protocol honest and seeds are several runs: respeft/train/experiment.h");
  const auto start = std::chrono::steady_clock::now();
  const RunDirectory directory(config.out);
  if (!options.resume && directory.has_results())
    throw std::invalid_argument(
        fmt::format("out: {} holds a run already; --resume continues it, or give another directory", config.out));
  const Data data = open_data(config);
  const data::DataFingerprint identity = fingerprint_of(data, config);
  if (options.resume) directory.check_data(identity);
  const MadeDirectory made(directory);
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
  const auto model = make_model(config, data.train->num_classes(), directory, observer);
  at::manual_seed(static_cast<uint64_t>(config.seed));
  const auto attachment = attach(*model, *methods::create(config.method, config.method_options));
  const std::string base = models::base_sha256(*model);

  std::optional<Checkpoint> checkpoint;
  if (options.resume) checkpoint = load_checkpoint(directory, base, observer);
  const bool trained = checkpoint && checkpoint->progress.epochs >= config.last_epoch();
  Task task = make_task(model, attachment, data, config);
  if (!trained && features_are_fixed(config, attachment)) precompute_features(task, *model, config, options, observer);
  Trainer trainer(std::move(task), config, observer, options.stop);
  if (checkpoint) restore(trainer, *checkpoint, directory);
  directory.begin(config);
  directory.keep_data(identity);
  directory.truncate_metrics(trainer.progress().epochs);
  const double before = trainer.progress().seconds;
  const auto seconds = [&] { return before + std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };

  Summary summary;
  summary.outcome = train(trainer, directory, base, seconds);
  summary.progress = trainer.progress();
  summary.trained_parameters = attachment->parameter_count();
  for (const auto& [name, tensor] : attachment->trainable()) summary.head_parameters += name.starts_with("head.") ? tensor.numel() : 0;
  summary.train_images = data.train->size();
  summary.classes = data.train->num_classes();
  summary.seconds = seconds();
  summary.peak_rss = peak_rss();
  summary.config = std::move(config);
  directory.finish(adapter_file(summary.config, *model, attachment, data.train->class_names()), to_json(summary));
  return summary;
}

std::string to_json(const Summary& s) {
  nlohmann::ordered_json json = {
      {"recipe", s.config.recipe},
      {"model", s.config.model},
      {"method", s.config.method},
      {"data", s.config.data},
      {"out", s.config.out},
      {"protocol", s.config.protocol},
      {"train_split", s.config.train_split},
      {"seed", s.config.seed},
      {"selection", s.outcome.selection},
      {"epoch", s.outcome.chosen.epoch},
      {"epochs", s.progress.epochs},
      {"steps", s.progress.steps},
      {"train_images", s.train_images},
      {"train_accuracy", s.outcome.chosen.train_accuracy},
      {"train_loss", s.outcome.chosen.train_loss},
      {"classes", s.classes},
      {"trained_parameters", s.trained_parameters},
      {"adapter_parameters", s.trained_parameters - s.head_parameters},
      {"head_parameters", s.head_parameters},
      {"seconds", s.seconds},
      {"train_seconds", s.progress.train_seconds},
      {"eval_seconds", s.progress.eval_seconds},
      {"data_wait_share", s.progress.data_wait_share()},
      {"peak_rss", s.peak_rss},
  };
  for (const auto& evaluation : {s.outcome.chosen.evaluation, s.outcome.test}) {
    if (!evaluation) continue;
    json[evaluation->split + "_images"] = evaluation->images;
    json[evaluation->split + "_accuracy"] = evaluation->accuracy;
    json[evaluation->split + "_loss"] = evaluation->loss;
  }
  return json.dump(2);
}

}  // namespace respeft::runs
