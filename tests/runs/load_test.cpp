#include <respeft/runs/load.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>

#include <respeft/core/interrupt.h>
#include <respeft/data/image/loader.h>
#include <respeft/export/export.h>
#include <respeft/merge/merge.h>
#include <respeft/models/weights.h>
#include <respeft/runs/evaluate.h>
#include <respeft/runs/probe.h>
#include <respeft/runs/run.h>
#include <respeft/runs/run_directory.h>

#include "tests/colored_images.h"
#include "tests/expect_error.h"

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

/// Runs on three classes of colored images.
struct LoadRun : testing::Test {
  LoadRun() {
    test::write_colored_images(folder, "data");
    at::manual_seed(1);
    const auto model = models::create("vit_tiny_patch16_224", {.image_size = 16});
    formats::save_safetensors(folder / "base.safetensors", models::plain_state(*model));
  }

  TrainConfig config(const std::string& out) const {
    TrainConfig c;
    c.model = "vit_tiny_patch16_224";
    c.weights = folder / "base.safetensors";
    c.image_size = 16;
    c.data = "imagefolder:" + (folder / "data");
    c.method = "ssf";
    c.method_options = {{"blocks", std::string("0-1")}};
    c.out = folder / out;
    c.epochs = 3;
    c.warmup_epochs = 0;
    c.schedule_lag = false;
    c.batch_size = 6;
    c.lr = 3e-3;
    c.threads = 1;
    return resolve(c);
  }

  data::DatasetPtr images(data::Split split = data::Split::test) const {
    return data::open_dataset("imagefolder:" + (folder / "data"), split);
  }

  test::Folder folder;
};

/// Stops a run after an epoch.
struct StopAfter : train::Observer {
  explicit StopAfter(int64_t last_epoch) : last(last_epoch) {}
  void epoch(const train::EpochRecord& record, int64_t) override { stop = record.epoch >= last; }
  int64_t last;
  std::atomic<bool> stop = false;
};

TEST_F(LoadRun, AFinishedRunIsUsedInThreeLines) {
  train::Observer observer;
  const Summary summary = run(config("run"), {}, observer);
  const auto loaded = load_run(folder / "run");
  const auto figures = evaluate(loaded, images());
  EXPECT_EQ(figures.accuracy(), summary.outcome.test->metrics.at("accuracy"));
  EXPECT_TRUE(loaded.notes.empty());
  EXPECT_EQ(loaded.class_names, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(loaded.data, config("run").data);

  const std::string path = folder / "data/test/b/0.png";
  const auto predictions = loaded.classify(path, 2);
  ASSERT_EQ(predictions.size(), 2u);
  const at::Tensor probabilities =
      loaded.forward(data::Transform(loaded.preprocessing)(data::read_image(path)).unsqueeze(0)).softmax(1)[0];
  EXPECT_EQ(predictions[0].index, probabilities.argmax().item<int64_t>());
  EXPECT_EQ(predictions[0].name, loaded.class_names.at(static_cast<size_t>(predictions[0].index)));
  EXPECT_NEAR(predictions[0].probability, probabilities.max().item<double>(), 1e-6);
  EXPECT_GE(predictions[0].probability, predictions[1].probability);
  EXPECT_EQ(loaded.classify(data::read_image(path), 1)[0].index, predictions[0].index);
}

TEST_F(LoadRun, AnUnfinishedRunIsLoadedFromItsCheckpoint) {
  TrainConfig c = config("run");
  c.ema_decay = 0.5;  // the average is what is evaluated
  StopAfter observer(2);
  EXPECT_THROW(run(c, {.stop = &observer.stop}, observer), Interrupted);
  ASSERT_FALSE(fs::exists(folder / "run/adapter.safetensors"));
  const auto loaded = load_run(folder / "run");
  ASSERT_EQ(loaded.notes.size(), 1u);
  EXPECT_NE(loaded.notes[0].find("checkpoint after epoch 2 of 3"), std::string::npos) << loaded.notes[0];
  EXPECT_EQ(loaded.class_names, (std::vector<std::string>{"a", "b", "c"}));
  const auto kept = RunDirectory(folder / "run").load();
  for (const auto& item : loaded.model->named_parameters()) {
    if (!item.value().requires_grad()) continue;
    EXPECT_TRUE(at::equal(item.value(), kept.tensors.at("ema/" + item.key()))) << item.key();
  }
  // The figures of that epoch's evaluation.
  EXPECT_EQ(evaluate(loaded, images()).accuracy(), kept.progress.last->evaluation->metrics.at("accuracy"));

  auto base = formats::SafetensorsFile(folder / "base.safetensors").tensors();
  base.at("norm.bias").add_(1.0);
  formats::save_safetensors(folder / "base.safetensors", base);
  expect_error<std::invalid_argument>([&] { load_run(folder / "run"); }, {"made on other weights", "--any-base"});
  EXPECT_NO_THROW(load_run(LoadOptions{.run = folder / "run", .any_base = true}));
}

TEST_F(LoadRun, OtherFoldersAreRefusedByTheirContent) {
  expect_error<std::runtime_error>([&] { load_run(folder / "none"); }, {"none", "no such run directory"});
  folder.write("suite/suite.toml", "benchmark = \"vtab\"\n");
  expect_error<std::runtime_error>([&] { load_run(folder / "suite"); }, {"holds a suite"});
  RunDirectory directory(folder / "begun");
  directory.create();
  directory.begin(config("begun"));
  expect_error<std::runtime_error>([&] { load_run(folder / "begun"); }, {"has trained no epoch", "--resume"});
  folder.write("begun/config.toml", "lrr = 1\n");
  expect_error<std::runtime_error>([&] { load_run(folder / "begun"); }, {"config.toml:1", "'lrr'"});
}

TEST_F(LoadRun, TorchScriptIsARunToo) {
  train::Observer observer;
  run(config("run"), {}, observer);
  auto loaded = load_run(folder / "run");
  const auto before = evaluate(loaded, images());
  merge(*loaded.model);
  export_torchscript(*loaded.model, folder / "model.pt", loaded.export_info());
  const auto script = load_run(LoadOptions{.torchscript = folder / "model.pt"});
  const auto after = evaluate(script, images());
  EXPECT_NEAR(after.loss, before.loss, 1e-5);
  EXPECT_EQ(script.class_names, loaded.class_names);
  expect_error<std::invalid_argument>([&] { load_run({.run = folder / "run", .torchscript = folder / "model.pt"}); },
                                      {"--torchscript goes without"});
}

TEST_F(LoadRun, EvaluationCountsEachClass) {
  train::Observer observer;
  run(config("run"), {}, observer);
  fs::remove(folder / "data/test/c/0.png");
  const auto loaded = load_run(folder / "run");
  const auto test = images();
  int64_t calls = 0;
  const auto figures = evaluate(loaded, test, {.batch_size = 2, .workers = 0, .progress = [&](int64_t, double) { ++calls; }});
  // The same sums, image by image.
  const data::Transform transform(loaded.preprocessing);
  std::vector<int64_t> counts(3), correct(3);
  double loss = 0.0;
  for (int64_t i = 0; i < test->size(); ++i) {
    const at::Tensor logits = loaded.forward(transform(test->load(i)).unsqueeze(0));
    const auto label = static_cast<size_t>(test->label(i));
    ++counts[label];
    correct[label] += logits.argmax().item<int64_t>() == test->label(i);
    loss -= logits.log_softmax(1)[0][test->label(i)].item<double>() / static_cast<double>(test->size());
  }
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(figures.images, 5);
  EXPECT_NEAR(figures.loss, loss, 1e-5);
  for (size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(figures.classes[c].images, counts[c]);
    EXPECT_EQ(figures.classes[c].correct, correct[c]);
  }
  EXPECT_TRUE(figures.images_per_second.has_value());
  EXPECT_FALSE(evaluate(loaded, test, {.batch_size = 5}).images_per_second.has_value()) << "a rate of a single batch";
  EXPECT_FALSE(ClassFigures{}.accuracy().has_value());

  std::atomic<bool> stop = true;
  EXPECT_THROW(evaluate(loaded, test, {.stop = &stop}), Interrupted);
  folder.write("data/test/d/0.png", test::image_of(0, 1));
  expect_error<std::runtime_error>([&] { images(); }, {"d"});
}

TEST_F(LoadRun, ProbesAreDrawnEvenlyFromTheClasses) {
  train::Observer observer;
  run(config("run"), {}, observer);
  const auto loaded = load_run(folder / "run");
  const Probe probe = make_probe(loaded, {.images = 3, .workers = 0});
  EXPECT_TRUE(at::equal(std::get<0>(probe.labels.sort()), at::tensor(std::vector<int64_t>{0, 1, 2}))) << "the first are all of a";
  EXPECT_NE(probe.description.find("6 images of 3 classes, 3 of them drawn evenly from the classes with seed 0"),
            std::string::npos)
      << probe.description;
  EXPECT_EQ(make_probe(loaded, {.images = 100}).inputs.size(0), 6);
  EXPECT_EQ(calibration_images(loaded, {.images = 6}).size(0), 6);
  fs::remove_all(folder / "data");
  std::string said;
  const Probe pixels = make_probe(loaded, {.note = [&](const std::string& line) { said = line; }});
  EXPECT_EQ(pixels.inputs.sizes(), at::IntArrayRef({64, 3, 16, 16}));
  EXPECT_FALSE(pixels.labels.defined());
  EXPECT_NE(said.find("random pixels are compared"), std::string::npos) << said;
}

TEST_F(LoadRun, TheTestSampleIsDrawnEvenly) {
  TrainConfig c = config("run");
  c.test_samples = 3;
  train::Observer observer;
  run(c, {}, observer);
  const auto metrics = RunDirectory(folder / "run").load().progress.last->evaluation;
  EXPECT_EQ(metrics->examples, 3);
  EXPECT_EQ(metrics->metrics.at("accuracy"), evaluate(load_run(folder / "run"), data::sample(images(), 3)).accuracy());
}

/// Version 0.1.0 called the hash of the base in memory `base_sha256`, and kept no class names.
TEST_F(LoadRun, CheckpointsOfVersion010AreRead) {
  StopAfter observer(1);
  EXPECT_THROW(run(config("run"), {.stop = &observer.stop}, observer), Interrupted);
  const std::string path = RunDirectory(folder / "run").checkpoint_path();
  const formats::SafetensorsFile file(path);
  auto metadata = file.metadata();
  const std::string hash = metadata.at("frozen_sha256");
  EXPECT_FALSE(metadata.contains("base_sha256")) << "which in an adapter file is the weights file's";
  metadata.erase("frozen_sha256");
  metadata["base_sha256"] = hash;
  formats::save_safetensors(path, file.tensors(), metadata);
  fs::remove(folder / "run/checkpoint/data.json");
  EXPECT_EQ(train::load_checkpoint(path).frozen_sha256, hash);
  EXPECT_EQ(load_run(folder / "run").class_names, (std::vector<std::string>{"a", "b", "c"})) << "of the data";
  train::Observer quiet;
  EXPECT_EQ(run(config("run"), {.resume = true}, quiet).progress.epochs, 3);
}

/// Keeps the notes as one text.
struct NotesText : train::Observer {
  void note(const std::string& line) override { all += line + "\n"; }
  std::string all;
};

TEST_F(LoadRun, FlippingSaysThatFeaturesAreNotKept) {
  TrainConfig c = config("probe");
  c.method = "linear";
  c.method_options.clear();
  c.epochs = 1;
  NotesText kept, flipped;
  run(resolve(c), {}, kept);
  EXPECT_NE(kept.all.find("computed once"), std::string::npos) << kept.all;
  c.out = folder / "flipped";
  c.flip = true;
  run(resolve(c), {}, flipped);
  EXPECT_NE(flipped.all.find("computed anew in every epoch because of flip"), std::string::npos) << flipped.all;
}

}  // namespace
}  // namespace respeft::runs
