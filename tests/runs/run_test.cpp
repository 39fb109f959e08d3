#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include <respeft/adapters/adapter_file.h>
#include <respeft/data/image/image_source.h>
#include <respeft/data/sampler.h>
#include <respeft/formats/file.h>
#include <respeft/merge/merge.h>
#include <respeft/merge/shortcut.h>
#include <respeft/methods/method.h>
#include <respeft/models/weights.h>
#include <respeft/runs/run.h>
#include <respeft/tasks/image_classification.h>
#include <respeft/train/trainer.h>

#include "tests/folder.h"
#include "tests/png.h"

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

/// Short runs of a small ViT on real images.
class RunTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kFashionMnist)) GTEST_SKIP() << "needs Debian's package dataset-fashion-mnist";
  }

  /// Everything that draws random numbers or carries state from step to step is on.
  TrainConfig config(const std::string& out) const {
    TrainConfig c;
    c.model = "vit_tiny_patch16_224";
    c.image_size = 32;
    c.data = std::string("fashion-mnist:") + kFashionMnist;
    c.train_samples = 48;
    c.test_samples = 64;
    c.method = "rlrr";
    c.out = folder_ / out;
    c.epochs = 3;
    c.warmup_epochs = 0;
    c.batch_size = 10;
    c.accumulate = 2;
    c.lr = 3e-3;
    c.resize_size = 36;
    c.random_crop = true;
    c.flip = true;
    c.drop_path = 0.1;
    c.branch_dropout = 0.1;
    c.label_smoothing = 0.1;
    c.clip_grad = 1.0;
    c.ema_decay = 0.8;
    c.auto_augment = "rand-m9-mstd0.5-inc1";
    c.random_erasing = 0.25;
    c.mixup = 0.8;
    c.cutmix = 1.0;
    c.protocol = "paper";
    c.threads = 1;  // two threads on a busy machine wait for each other
    c.weights = weights();
    return resolve(c);
  }

  /// A base drawn once, so that runs can share it.
  std::string weights() const {
    const std::string path = folder_ / "base.safetensors";
    if (!fs::exists(path)) {
      models::ModelOptions options;
      options.image_size = 32;
      at::manual_seed(1);
      formats::save_safetensors(path, models::plain_state(*models::create("vit_tiny_patch16_224", options)));
    }
    return path;
  }

  static Summary run(const TrainConfig& config, bool resume = false) {
    train::Observer observer;
    return runs::run(config, {.resume = resume}, observer);
  }

  static void expect_same_adapter(const TrainConfig& a, const TrainConfig& b) {
    const auto first = formats::SafetensorsFile(a.out + "/adapter.safetensors").tensors();
    const auto second = formats::SafetensorsFile(b.out + "/adapter.safetensors").tensors();
    ASSERT_EQ(first.size(), second.size());
    for (const auto& [key, tensor] : first) EXPECT_TRUE(at::equal(tensor, second.at(key))) << key;
  }

  /// `metrics.jsonl` without times.
  static std::vector<nlohmann::json> metrics(const TrainConfig& config) {
    std::ifstream file(config.out + "/metrics.jsonl");
    std::vector<nlohmann::json> lines;
    for (std::string line; std::getline(file, line);) {
      lines.push_back(nlohmann::json::parse(line));
      for (const char* key : {"seconds", "eval_seconds", "data_wait_seconds"}) lines.back().erase(key);
    }
    return lines;
  }

  test::Folder folder_;
};

TEST_F(RunTest, Bfloat16LearnsWhatFloat32Does) {
  const TrainConfig exact = config("float32");
  TrainConfig rounded = config("bfloat16");
  rounded.precision = "bfloat16";
  run(exact), run(rounded);
  const auto first = metrics(exact), second = metrics(rounded);
  for (size_t epoch = 0; epoch < first.size(); ++epoch) {
    const double loss = first[epoch].at("train_loss"), other = second[epoch].at("train_loss");
    EXPECT_NE(loss, other);
    EXPECT_NEAR(other / loss, 1.0, 0.02);  // a few roundings of 2⁻⁸
  }
  for (const auto& [key, tensor] : formats::SafetensorsFile(rounded.out + "/adapter.safetensors").tensors()) {
    EXPECT_EQ(tensor.scalar_type(), at::kFloat) << key;
  }
}

/// Raises a signal, or throws, when `epoch` has come to `images`.
class Disturber : public train::Observer {
 public:
  Disturber(std::string what, int64_t images, std::function<void()> act)
      : what_(std::move(what)), images_(images), act_(std::move(act)) {}
  void progress(const train::WorkProgress& work) override {
    if (work.what == what_ && work.done >= images_ && act_) std::exchange(act_, nullptr)();
  }

 private:
  std::string what_;
  int64_t images_;
  std::function<void()> act_;
};

TEST_F(RunTest, LeavesAWholeRunDirectory) {
  const TrainConfig c = config("a");
  const Summary summary = run(c);
  TrainConfig filled_in = c;
  filled_in.train_split = "train";
  EXPECT_EQ(read_config(c.out + "/config.toml"), filled_in);
  EXPECT_EQ(metrics(c).size(), 3U);
  EXPECT_TRUE(fs::exists(c.out + "/checkpoint/state.safetensors"));
  const auto json = nlohmann::json::parse(formats::read_file(c.out + "/summary.json"));
  EXPECT_EQ(json.at("test_images"), 64);
  EXPECT_EQ(json.at("steps"), 9);  // 48 images: 20 + 20 + 8, three times
  EXPECT_EQ(json.at("test_accuracy"), summary.outcome.test->metrics.at("accuracy"));
  EXPECT_NE(json.at("selection").get<std::string>().find("TEST"), std::string::npos);
  EXPECT_GT(json.at("peak_rss").get<int64_t>(), 50 << 20);

  // The adapter file, on a fresh model, gives the accuracy that the run reports.
  const auto adapter = adapters::load_adapter(c.out + "/adapter.safetensors");
  EXPECT_EQ(adapter.info.method, "rlrr");
  EXPECT_EQ(adapter.info.weights_sha256, formats::file_sha256(c.weights));
  EXPECT_EQ(adapter.info.preprocessing, c.preprocessing());
  models::ModelOptions options;
  options.image_size = 32;
  options.num_classes = 10;
  const auto model = models::create(c.model, options);
  models::load_weights(*model, c.weights);
  adapters::attach_adapter(*model, adapter);
  model->eval();
  const auto test = data::sample(data::open_dataset(c.data, data::Split::test), 64);
  const auto source = data::image_source(test, data::Transform(c.preprocessing()), 0);
  const auto batch = source->batches(data::sequential_order(64), 64, 0)->next();
  const at::NoGradGuard no_grad;
  const double accuracy =
      model->forward(batch->at(kPixels)).argmax(1).eq(batch->at(kLabels)).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(accuracy, summary.outcome.test->metrics.at("accuracy"), 1e-12);
}

TEST_F(RunTest, TwoRunsAreBitIdenticalAndAnotherSeedIsNot) {
  TrainConfig a = config("a"), b = config("b"), other = config("c");
  a.epochs = b.epochs = other.epochs = 2;
  b.workers = 2;  // must not matter
  other.seed = 43;
  run(a), run(b), run(other);
  expect_same_adapter(a, b);
  EXPECT_EQ(metrics(a), metrics(b));
  EXPECT_NE(metrics(a), metrics(other));
}

/// Windows of lengths and the state of rank allocation travel in the checkpoint too.
TEST_F(RunTest, ResumedEqualsUninterruptedWithAllocatedRanks) {
  TrainConfig straight = config("straight"), stopped = config("stopped");
  for (auto* c : {&straight, &stopped}) {
    c->method = "reslora-ms";
    c->ema_decay = 0.0;
    c->method_options = {{"target_rank", int64_t{3}}, {"prune_end", 1.0}, {"prune_every", int64_t{1}}};
    *c = resolve(*c);
  }
  run(straight);
  {
    const InterruptGuard guard;
    Disturber observer("epoch 3/3", 20, [] { std::raise(SIGINT); });
    EXPECT_THROW(runs::run(stopped, {.stop = &InterruptGuard::flag()}, observer), Interrupted);
  }
  run(stopped, true);
  expect_same_adapter(straight, stopped);
  EXPECT_EQ(metrics(straight), metrics(stopped));
  int64_t kept = 0, all = 0;
  for (const auto& [key, tensor] : formats::SafetensorsFile(stopped.out + "/adapter.safetensors").tensors()) {
    if (!key.ends_with("lora_E")) continue;
    kept += tensor.ne(0).sum().item<int64_t>(), all += tensor.numel();
  }
  EXPECT_EQ(all, 12 * 6 * 8);
  EXPECT_EQ(kept, 12 * 6 * 3);
}

TEST_F(RunTest, ResumedEqualsUninterrupted) {
  const TrainConfig straight = config("straight"), stopped = config("stopped");
  run(straight);
  {
    const InterruptGuard guard;
    Disturber observer("epoch 3/3", 20, [] { std::raise(SIGINT); });
    try {
      runs::run(stopped, {.stop = &InterruptGuard::flag()}, observer);
      FAIL() << "not stopped";
    } catch (const Interrupted& error) {
      EXPECT_NE(std::string(error.what()).find("in epoch 3 after 20 of 48 images"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("--resume goes on after epoch 2"), std::string::npos) << error.what();
    }
  }
  EXPECT_FALSE(fs::exists(stopped.out + "/adapter.safetensors"));
  EXPECT_FALSE(fs::exists(stopped.out + "/summary.json"));
  std::ofstream(stopped.out + "/metrics.jsonl", std::ios::app) << "{\"epoch\": 3, \"lr\":";  // cut short by the end of a program
  run(stopped, true);
  expect_same_adapter(straight, stopped);
  EXPECT_EQ(metrics(straight), metrics(stopped));
}

TEST_F(RunTest, AnEvaluationThatIsInterruptedCostsNoEpoch) {
  const TrainConfig straight = config("straight"), stopped = config("stopped");
  run(straight);
  std::atomic<bool> stop = false;
  int64_t evaluations = 0;
  struct Second : train::Observer {  // in the evaluation after the second epoch
    Second(std::atomic<bool>& flag, int64_t& count) : stop(flag), evaluations(count) {}
    void progress(const train::WorkProgress& work) override {
      if (work.what == "test" && work.done == work.total && ++evaluations == 2) stop = true;
    }
    std::atomic<bool>& stop;
    int64_t& evaluations;
  } observer(stop, evaluations);
  try {
    runs::run(stopped, {.stop = &stop}, observer);
    FAIL() << "not stopped";
  } catch (const Interrupted& error) {
    EXPECT_NE(std::string(error.what()).find("while evaluating after epoch 2"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("what 2 epochs trained is kept"), std::string::npos) << error.what();
  }
  EXPECT_EQ(metrics(stopped).size(), 1U);
  struct Trained : train::Observer {
    void progress(const train::WorkProgress& work) override { first = first.empty() ? work.what : first; }
    std::string first;
  } trained;
  runs::run(stopped, {.resume = true}, trained);
  EXPECT_EQ(trained.first, "test") << "the evaluation must come first";
  expect_same_adapter(straight, stopped);
  EXPECT_EQ(metrics(straight), metrics(stopped));
}

TEST_F(RunTest, ResumedInsideAnEpochEqualsUninterrupted) {
  TrainConfig straight = config("straight"), stopped = config("stopped");
  for (auto* c : {&straight, &stopped}) c->checkpoint_every_steps = 1, c->eval_every_steps = 2, c->schedule_by = "step";
  run(straight);
  EXPECT_EQ(metrics(straight).size(), 3U + 3U);  // 3 epochs of 3 steps, and steps 2, 4 and 8: step 6 ends an epoch
  std::atomic<bool> stop = false;
  Disturber observer("epoch 2/3", 40, [&] { stop = true; });
  try {
    runs::run(stopped, {.stop = &stop}, observer);
    FAIL() << "not stopped";
  } catch (const Interrupted& error) {
    EXPECT_NE(std::string(error.what()).find("what 1 epochs and 2 steps trained is kept: --resume goes on after step 5"),
              std::string::npos)
        << error.what();
  }
  run(stopped, true);
  expect_same_adapter(straight, stopped);
  EXPECT_EQ(metrics(straight), metrics(stopped));
}

TEST_F(RunTest, StopsInTheFirstEpochAndStartsAfresh) {
  const TrainConfig straight = config("straight"), stopped = config("stopped");
  std::atomic<bool> stop = false;
  Disturber observer("epoch 1/3", 20, [&] { stop = true; });
  EXPECT_THROW(runs::run(stopped, {.stop = &stop}, observer), Interrupted);
  struct : train::Observer {
    void note(const std::string& line) override { notes += line + "\n"; }
    std::string notes;
  } listener;
  runs::run(stopped, {.resume = true}, listener);
  EXPECT_NE(listener.notes.find("no checkpoint yet"), std::string::npos) << listener.notes;
  run(straight);
  expect_same_adapter(straight, stopped);
}

TEST_F(RunTest, MoreEpochsMayFollow) {
  TrainConfig c = config("a");
  c.protocol = "last";
  c.epochs = 1;
  run(c);
  const auto first = metrics(c);
  EXPECT_THROW(run(c), std::invalid_argument) << "a run must not be overwritten";
  c.epochs = 2;
  check_continues(*started_config(c.out), c);
  const Summary summary = run(c, true);
  EXPECT_EQ(summary.outcome.chosen.epoch, 2);
  ASSERT_EQ(metrics(c).size(), 2U);
  EXPECT_EQ(metrics(c)[0], first[0]);
  const Summary again = run(c, true);  // nothing left to do
  EXPECT_EQ(again.outcome.test->metrics.at("accuracy"), summary.outcome.test->metrics.at("accuracy"));
  EXPECT_GT(again.progress.seconds, summary.progress.seconds);  // to the end of epoch 2; of epoch 1
  EXPECT_GT(again.seconds, again.progress.seconds);
}

TEST_F(RunTest, ChangedSettingsAreRefused) {
  TrainConfig c = config("a");
  c.epochs = 1;
  run(c);
  c.lr = 1e-2;
  try {
    check_continues(*started_config(c.out), c);
    FAIL() << "no error";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("lr: the run was started with '0.003', asked for is '0.01'"), std::string::npos);
  }
}

TEST_F(RunTest, ABadCheckpointIsNamed) {
  TrainConfig c = config("a");
  c.epochs = 1;
  run(c);
  c.epochs = 2;
  const std::string path = c.out + "/checkpoint/state.safetensors";
  const auto error = [&] {
    try {
      run(c, true);
    } catch (const std::runtime_error& e) {
      return std::string(e.what());
    }
    return std::string("(no error)");
  };
  const std::string whole = formats::read_file(path);
  formats::write_file(path, whole.substr(0, whole.size() / 2));
  EXPECT_NE(error().find(path), std::string::npos) << error();
  train::Checkpoint other;
  formats::write_file(path, whole);
  other = train::load_checkpoint(path);
  other.frozen_sha256 = "0";
  train::save_checkpoint(path, other);
  EXPECT_NE(error().find("other base weights"), std::string::npos) << error();
  formats::save_safetensors(path, {{"x", at::zeros({1})}}, {{"format", "something else"}});
  EXPECT_NE(error().find(path + ": not a checkpoint"), std::string::npos) << error();
}

TEST_F(RunTest, LossGoesDownOnRealImagesAndTheBaseStays) {
  TrainConfig c = config("a");
  c.train_samples = 200;
  c.epochs = 6;
  c.batch_size = 20;
  c.accumulate = 1;
  c.drop_path = c.branch_dropout = c.label_smoothing = 0.0;
  c.ema_decay = c.random_erasing = c.mixup = c.cutmix = 0.0;
  c.auto_augment.clear();
  c.protocol = "last";
  const std::string before = formats::file_sha256(c.weights);
  const Summary summary = run(c);
  const auto lines = metrics(c);
  EXPECT_LT(lines.back().at("train_loss").get<double>(), 0.75 * lines.front().at("train_loss").get<double>());
  EXPECT_GT(summary.outcome.test->metrics.at("accuracy"), 0.4);
  EXPECT_EQ(formats::file_sha256(c.weights), before);
}

/// The base's hash before the first step, and after training, evaluation and merging a copy.
TEST_F(RunTest, TheBaseIsNotWrittenInMemory) {
  for (const char* method : {"rlrr", "lora", "reslora-bs", "reslora-is", "reslora-ms", "loha", "lokr", "ssf", "linear"}) {
    models::ModelOptions options;
    options.image_size = 32;
    options.num_classes = 10;
    const auto model = models::create("vit_tiny_patch16_224", options);
    const std::string before = models::base_sha256(*model);
    const auto attachment = attach(*model, *methods::create(method));
    EXPECT_EQ(models::base_sha256(*model), before) << method;
    train::TrainingJob job;
    job.task = std::make_shared<tasks::ImageClassification>(data::ImageOptions(), 10);
    job.forward = [&](const Batch& batch) { return job.task->forward(*model, batch); };
    job.module = model;
    job.attachment = attachment;
    job.train = job.test =
        data::tensor_source({{kPixels, at::randn({8, 3, 32, 32})}, {kLabels, at::randint(10, {8}, at::kLong)}});
    TrainConfig c = config("unused");
    c.epochs = 2;
    c.protocol = "last";
    train::Observer observer;
    const Runtime runtime;
    train::Trainer trainer(job, c, runtime, Ranks::single(), observer);
    while (!trainer.done()) trainer.run_epoch();
    EXPECT_EQ(models::base_sha256(*model), before) << method;
    trainer.finish();
    EXPECT_EQ(models::base_sha256(*model), before) << method;
    if (!has_adapters(*model)) continue;
    // Merging gives the model new weights; those that it shared with others are what they were.
    std::vector<std::pair<at::Tensor, at::Tensor>> shared;
    for (const auto& named : nn::find_sites(*model)) {
      if (const auto* layer = named.layer()) shared.emplace_back(layer->weight, layer->weight.clone());
    }
    if (needs_shortcut_merge(*model)) {
      ShortcutMerger merger(*model, at::randn({8, 3, 32, 32}));
      EXPECT_EQ(models::base_sha256(*model), before) << method;
      merger.merge(ShortcutMerge::Regression);
    } else {
      merge(*model);
    }
    EXPECT_NE(models::base_sha256(*model), before) << method;
    for (const auto& [weight, copy] : shared) EXPECT_TRUE(at::equal(weight, copy)) << method;
  }
}

TEST_F(RunTest, LinearProbeOnFeaturesEqualsTheOneOnImages) {
  TrainConfig fast = config("fast"), slow = config("slow");
  for (auto* c : {&fast, &slow}) {
    c->method = "linear";
    c->method_options.clear();
    c->random_crop = c->flip = false;
    c->drop_path = c->branch_dropout = c->random_erasing = c->mixup = c->cutmix = 0.0;
    c->auto_augment.clear();
    c->protocol = "last";
  }
  slow.drop_path = std::numeric_limits<double>::min();  // random in name only: keeps the features from being computed once
  const Summary a = run(resolve(fast)), b = run(resolve(slow));
  EXPECT_EQ(a.trained_parameters, 192 * 10 + 10);
  EXPECT_EQ(a.head_parameters, a.trained_parameters);
  EXPECT_NEAR(a.outcome.test->metrics.at("loss"), b.outcome.test->metrics.at("loss"), 1e-4);
  EXPECT_NEAR(a.outcome.chosen.train.at("loss"), b.outcome.chosen.train.at("loss"), 1e-4);
}

/// Each setting by itself makes another result than none of them.
TEST_F(RunTest, EveryAugmentationIsUsed) {
  const std::vector<std::pair<std::string, std::function<void(TrainConfig&)>>> settings = {
      {"none", [](TrainConfig&) {}},
      {"ema", [](TrainConfig& c) { c.ema_decay = 0.5; }},
      {"resize_size", [](TrainConfig& c) { c.resize_size = 38; }},
      {"random_crop", [](TrainConfig& c) { c.random_crop = true; }},
      {"random_resized_crop", [](TrainConfig& c) { c.random_resized_crop = 0.08; }},
      {"random_resized_crop of another share", [](TrainConfig& c) { c.random_resized_crop = 0.5; }},
      {"train_interpolation of crops", [](TrainConfig& c) { c.random_resized_crop = 0.08, c.train_interpolation = "bilinear"; }},
      {"flip", [](TrainConfig& c) { c.flip = true; }},
      {"auto_augment", [](TrainConfig& c) { c.auto_augment = "rand-m9"; }},
      {"train_interpolation", [](TrainConfig& c) { c.auto_augment = "rand-m9", c.train_interpolation = "bicubic"; }},
      {"random_erasing", [](TrainConfig& c) { c.random_erasing = 0.5; }},
      {"random_erasing_mode", [](TrainConfig& c) { c.random_erasing = 0.5, c.random_erasing_mode = "const"; }},
      {"random_erasing_count", [](TrainConfig& c) { c.random_erasing = 0.5, c.random_erasing_count = 3; }},
      {"mixup", [](TrainConfig& c) { c.mixup = 0.8; }},
      {"mixup_prob", [](TrainConfig& c) { c.mixup = 0.8, c.mixup_prob = 0.5; }},
      {"cutmix", [](TrainConfig& c) { c.cutmix = 1.0; }},
      {"both", [](TrainConfig& c) { c.mixup = 0.8, c.cutmix = 1.0; }},
      {"mixup_switch_prob", [](TrainConfig& c) { c.mixup = 0.8, c.cutmix = 1.0, c.mixup_switch_prob = 0.9; }},
  };
  std::map<std::string, std::string> adapters;
  for (const auto& [name, set] : settings) {
    TrainConfig c = config(name);
    c.method = "linear";  // whose features must then not be computed once
    c.method_options.clear();
    c.epochs = 1;
    c.train_samples = 24;
    c.test_samples = 8;
    c.batch_size = 4;
    c.accumulate = 1;
    c.random_crop = c.flip = false;
    c.drop_path = c.branch_dropout = c.ema_decay = c.random_erasing = c.mixup = c.cutmix = 0.0;
    c.auto_augment.clear();
    set(c);
    run(resolve(c));
    const auto [same, added] = adapters.emplace(formats::file_sha256(c.out + "/adapter.safetensors"), name);
    EXPECT_TRUE(added) << name << " changes nothing from " << same->second;
  }
}

TEST_F(RunTest, NanStopsAndTheLastGoodCheckpointStays) {
  TrainConfig c = config("a");
  c.protocol = "last";
  c.epochs = 1;
  c.clip_grad = 0.0;
  run(c);
  const std::string good = formats::file_sha256(c.out + "/checkpoint/state.safetensors");
  c.epochs = 4;
  c.lr = 1e30;
  c.min_lr = 1e29;
  try {
    run(c, true);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("at epoch 2, step"), std::string::npos) << error.what();
  }
  EXPECT_EQ(formats::file_sha256(c.out + "/checkpoint/state.safetensors"), good);
  EXPECT_FALSE(fs::exists(c.out + "/adapter.safetensors"));
  EXPECT_FALSE(fs::exists(c.out + "/summary.json"));
}

TEST_F(RunTest, RandomBaseIsKeptInTheRun) {
  TrainConfig c = config("a");
  c.weights.clear();
  c.epochs = 1;
  const Summary summary = run(c);
  EXPECT_TRUE(fs::exists(summary.config.weights));
  EXPECT_EQ(read_config(c.out + "/config.toml").weights, summary.config.weights);
  EXPECT_EQ(adapters::load_adapter(c.out + "/adapter.safetensors").info.weights_sha256,
            formats::file_sha256(summary.config.weights));
}

TEST_F(RunTest, ValWithoutAValidationSplitIsRefused) {
  TrainConfig c = config("a");
  c.protocol = "val";
  EXPECT_THROW(run(c), std::invalid_argument);
  EXPECT_FALSE(fs::exists(c.out));
}

TEST_F(RunTest, OutThatCannotBeMade) {
  TrainConfig c = config("a");
  folder_.write("file", "x");
  c.out = folder_ / "file/run";
  try {
    run(c);
    FAIL() << "no error";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(c.out), std::string::npos) << error.what();
  }
}

/// Two classes of four images each in every split, one class named in Latin-1.
std::string write_images(const test::Folder& folder) {
  for (const char* split : {"train", "val", "test"}) {
    for (const char* name : {"caf\xe9", "tea"}) {
      for (uint8_t i = 0; i < 4; ++i) {
        const std::vector<uint8_t> pixels(16 * 16 * 3, static_cast<uint8_t>(name[0] + 8 * i));
        folder.write(std::string("images/") + split + "/" + name + "/" + std::to_string(i) + ".png", test::png(16, 16, pixels));
      }
    }
  }
  return "imagefolder:" + (folder / "images");
}

TEST_F(RunTest, AClassFolderThatIsNotUtf8DoesNotEndATraining) {
  TrainConfig c = config("a");
  c.data = write_images(folder_);
  c.train_samples = c.test_samples = 0;
  c.epochs = 1;
  const Summary summary = run(c);
  EXPECT_EQ(summary.classes, 2);
  const auto adapter = adapters::load_adapter(c.out + "/adapter.safetensors");
  EXPECT_EQ(adapter.info.class_names, (std::vector<std::string>{"caf\\xe9", "tea"}));
  EXPECT_TRUE(fs::exists(c.out + "/summary.json"));
}

TEST_F(RunTest, TheAdapterIsWrittenBeforeTheLastEvaluation) {
  TrainConfig c = config("a");
  c.data = write_images(folder_);
  folder_.write("images/test/tea/3.png", "no image");
  c.train_samples = c.test_samples = 0;
  c.epochs = 1;
  c.protocol = "val";
  EXPECT_THROW(run(c), std::runtime_error);
  EXPECT_EQ(adapters::load_adapter(c.out + "/adapter.safetensors").info.class_names.size(), 2U);
  EXPECT_FALSE(fs::exists(c.out + "/summary.json")) << "the run has no figures";
}

TEST_F(RunTest, FullDiskLeavesNoHalfFile) {
  TrainConfig c = config("a");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{64 << 10, before.rlim_max};  // the configuration fits, the checkpoint does not
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::string message = "(no error)";
  try {
    run(c);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_NE(message.find(c.out + "/checkpoint/state.safetensors"), std::string::npos) << message;
  for (const auto& entry : fs::directory_iterator(c.out + "/checkpoint"))
    EXPECT_EQ(entry.path().filename(), "data.json") << "the half file is still there";
  EXPECT_FALSE(fs::exists(c.out + "/adapter.safetensors"));
}

}  // namespace
}  // namespace respeft::runs
