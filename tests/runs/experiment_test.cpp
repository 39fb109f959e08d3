#include <respeft/runs/experiment.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include <respeft/formats/file.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>
#include <respeft/runs/suite.h>

#include "src/runs/grid.h"
#include "tests/colored_images.h"
#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;
using test::expect_error;

TEST(Seeds, AreDifferentWholeNumbers) {
  EXPECT_EQ(parse_seeds("3, 1,20"), (std::vector<int64_t>{3, 1, 20}));
  EXPECT_TRUE(parse_seeds("").empty());
  expect_error<std::invalid_argument>([] { parse_seeds("1,1"); }, {"seeds: 1 is given twice"});
  for (const char* wrong : {"1,x", "-1", "1.5", "1;2", "99999999999999999999"}) {
    expect_error<std::invalid_argument>([&] { parse_seeds(wrong); }, {"seeds: must be whole numbers"});
  }
}

TEST(Grid, IsEveryCombination) {
  const auto grid = parse_grid("lr=1e-3,3e-3; weight-decay=0,1e-4");
  const std::vector<Settings> expected = {{{"lr", "1e-3"}, {"weight_decay", "0"}},
                                          {{"lr", "1e-3"}, {"weight_decay", "1e-4"}},
                                          {{"lr", "3e-3"}, {"weight_decay", "0"}},
                                          {{"lr", "3e-3"}, {"weight_decay", "1e-4"}}};
  EXPECT_EQ(grid, expected);
  EXPECT_TRUE(parse_grid("").empty());
  EXPECT_EQ(with_settings({}, grid[3]).weight_decay, 1e-4);
  expect_error<std::invalid_argument>([] { parse_grid("lr"); }, {"grid: expected FIELD=VALUE"});
  expect_error<std::invalid_argument>([] { parse_grid("lr="); }, {"grid: expected FIELD=VALUE"});
  expect_error<std::invalid_argument>([] { parse_grid("lr=1;lr=2"); }, {"grid: lr is given twice"});
  expect_error<std::invalid_argument>([] { parse_grid("rl=1"); }, {"grid: unknown setting of training 'rl'"});
  for (const char* forbidden : {"out=a,b", "seed=1,2", "data=a", "method=lora", "protocol=last"}) {
    expect_error<std::invalid_argument>([&] { parse_grid(forbidden); }, {"grid: unknown setting of training"});
  }
}

/// Three classes of colored images: 12 to train on, 6 to choose by, 6 to test.
struct Experiments : testing::Test {
  Experiments() {
    test::write_colored_images(folder, "data");
    at::manual_seed(1);
    formats::save_safetensors(folder / "base.safetensors",
                              models::plain_state(*models::create("vit_tiny_patch16_224", {.image_size = 16})));
  }

  TrainConfig config(const std::string& out) const {
    TrainConfig c;
    c.model = "vit_tiny_patch16_224";
    c.weights = folder / "base.safetensors";
    c.image_size = 16;
    c.data = "imagefolder:" + (folder / "data");
    c.method = "bitfit";
    c.out = folder / out;
    c.epochs = 3;
    c.warmup_epochs = 0;
    c.batch_size = 6;
    c.protocol = "honest";
    c.lr = 3e-3;
    c.seeds = "5,6";
    c.grid = "label_smoothing=1,0";  // 1: every class is as good, and the head stays zero
    c.threads = 1;
    return resolve(c);
  }

  static nlohmann::json summary(const std::string& directory) {
    return nlohmann::json::parse(formats::read_file(directory + "/summary.json"));
  }

  test::Folder folder;
};

/// Keeps what is said.
struct Notes : train::Observer {
  void note(const std::string& line) override { lines.push_back(line); }
  void epoch(const train::EpochRecord& record, int64_t) override {
    ++epochs, evaluations.push_back(record.evaluation.has_value());
  }
  std::vector<std::string> lines;
  std::vector<bool> evaluations;
  int64_t epochs = 0;
};

TEST_F(Experiments, HonestChoosesOnValAndTestsEachSeedOnce) {
  TrainConfig c = config("out");
  c.eval_every_steps = 1;  // not where epochs are chosen, nor where each run is tested once
  Notes notes;
  const Experiment e = run_experiment(c, {}, notes);
  ASSERT_EQ(e.candidates.size(), 2u);
  const auto first = summary(c.out + "/select/label_smoothing=1"), second = summary(c.out + "/select/label_smoothing=0");
  EXPECT_EQ(e.candidates[0].val_score, first.at("val_accuracy"));
  EXPECT_EQ(e.candidates[1].val_score, second.at("val_accuracy"));
  ASSERT_GT(e.candidates[1].val_score, e.candidates[0].val_score) << "they must differ, or this test shows nothing";
  EXPECT_EQ(e.chosen, 1u);
  for (const auto& selection : {first, second}) {
    EXPECT_EQ(selection.at("train_split"), "train");
    EXPECT_EQ(selection.at("train_images"), 12);
    EXPECT_FALSE(selection.contains("step"));
    EXPECT_FALSE(selection.contains("test_accuracy"));
  }
  ASSERT_EQ(e.runs.size(), 2u);
  double sum = 0.0;
  for (size_t i = 0; i < 2; ++i) {
    const auto run = summary(c.out + "/seed-" + std::to_string(5 + i));
    EXPECT_EQ(run.at("seed"), 5 + i);
    EXPECT_EQ(run.at("train_split"), "trainval");
    EXPECT_EQ(run.at("train_images"), 18);
    EXPECT_EQ(run.at("epochs"), e.candidates[1].epoch);
    EXPECT_EQ(run.at("test_accuracy"), e.runs[i].test_score);
    const auto settings = read_config(c.out + "/seed-" + std::to_string(5 + i) + "/config.toml");
    EXPECT_EQ(settings.label_smoothing, 0.0);
    EXPECT_EQ(settings.eval_every, 0);
    EXPECT_EQ(settings.eval_every_steps, 0);
    EXPECT_EQ(settings.epochs, 3) << "the schedule stays the selection's";
    sum += e.runs[i].test_score;
  }
  EXPECT_NEAR(e.mean(), sum / 2, 1e-12);
  EXPECT_NEAR(e.deviation().value(), std::abs(e.runs[0].test_score - e.runs[1].test_score) / std::sqrt(2.0), 1e-12);
  EXPECT_NE(e.selection.find("protocol 'honest'"), std::string::npos) << e.selection;
  const auto document = summary(c.out);
  EXPECT_EQ(document, nlohmann::json::parse(to_json(e)));
  EXPECT_EQ(to_json(finished_experiment(c.out).value()), to_json(e));
  EXPECT_EQ(document.at("protocol"), "honest");
  EXPECT_EQ(document.at("chosen").at("settings").at("label_smoothing"), "0");
  // 3 epochs for each candidate, all of them evaluated (on val); of each seed's, only the last (on test).
  ASSERT_EQ(notes.epochs, 6 + 2 * e.candidates[1].epoch);
  EXPECT_EQ(std::count(notes.evaluations.begin(), notes.evaluations.end(), true), 6 + 2);
}

TEST_F(Experiments, ChoosingReadsNoTestImage) {
  for (const char* name : {"a/0.png", "a/1.png", "b/0.png", "b/1.png", "c/0.png", "c/1.png"}) {
    folder.write(std::string("data/test/") + name, "no image");
  }
  const TrainConfig c = config("out");
  Notes notes;
  expect_error<std::runtime_error>([&] { run_experiment(c, {}, notes); }, {"data/test/"});
  EXPECT_TRUE(fs::exists(c.out + "/select/label_smoothing=0/summary.json")) << "the choice was made";
  EXPECT_FALSE(fs::exists(c.out + "/seed-5/summary.json"));
  EXPECT_FALSE(fs::exists(c.out + "/summary.json"));
  EXPECT_FALSE(finished_experiment(c.out));
}

TEST_F(Experiments, GoesOnWhereItStopped) {
  const TrainConfig whole = config("whole"), parts = config("parts");
  Notes notes;
  const Experiment expected = run_experiment(whole, {}, notes);
  std::atomic<bool> stop = false;
  struct Stopper : Notes {
    explicit Stopper(std::atomic<bool>& flag) : stop(flag) {}
    void epoch(const train::EpochRecord& record, int64_t total) override {
      Notes::epoch(record, total);
      if (epochs == 5) stop = true;  // the second of the second candidate
    }
    std::atomic<bool>& stop;
  } stopper(stop);
  EXPECT_THROW(run_experiment(parts, {.stop = &stop}, stopper), std::exception);
  EXPECT_FALSE(fs::exists(parts.out + "/summary.json"));
  expect_error<std::invalid_argument>([&] { run_experiment(parts, {}, notes); }, {"holds runs already", "--resume"});
  Notes rest;
  const Experiment resumed = run_experiment(parts, {.resume = true}, rest);
  EXPECT_EQ(rest.epochs, 1 + 2 * expected.candidates[1].epoch);
  EXPECT_EQ(resumed.mean(), expected.mean());
  EXPECT_EQ(resumed.runs[1].test_loss, expected.runs[1].test_loss);
  Notes nothing;
  run_experiment(parts, {.resume = true}, nothing);
  EXPECT_EQ(nothing.epochs, 0);
  TrainConfig other = parts;
  other.batch_size = 4;
  expect_error<std::invalid_argument>([&] { run_experiment(other, {.resume = true}, nothing); }, {"cannot resume", "batch_size"});
}

TEST_F(Experiments, OtherProtocolsRunOnceASeed) {
  TrainConfig c = config("out");
  c.protocol = "paper";
  c.grid.clear();
  Notes notes;
  const Experiment e = run_experiment(resolve(c), {}, notes);
  ASSERT_EQ(e.runs.size(), 2u);
  EXPECT_TRUE(e.candidates.empty());
  EXPECT_NE(e.selection.find("TEST"), std::string::npos) << e.selection;
  EXPECT_EQ(summary(c.out + "/seed-6").at("protocol"), "paper");
  EXPECT_EQ(summary(c.out + "/seed-6").at("train_split"), "trainval");
  ASSERT_TRUE(finished_experiment(c.out));
  EXPECT_EQ(to_json(*finished_experiment(c.out)), to_json(e));
}

TEST_F(Experiments, FinishedRunsGoOnToMoreEpochs) {
  TrainConfig seeds = config("seeds");
  seeds.protocol = "last";
  seeds.grid.clear();
  TrainConfig one = seeds;
  one.seeds.clear();
  one.out = folder / "one";
  for (const TrainConfig& c : {seeds, one}) {
    Notes first, more, nothing;
    run_experiment(c, {}, first);
    TrainConfig longer = c;
    longer.epochs = 5;
    const Experiment e = run_experiment(longer, {.resume = true}, more);
    EXPECT_EQ(more.epochs, 2 * static_cast<int64_t>(e.runs.size())) << c.out;
    for (const auto& run : e.runs) {
      EXPECT_EQ(run.epoch, 5);
      EXPECT_EQ(summary(run.out).at("epochs"), 5);
    }
    EXPECT_EQ(to_json(run_experiment(longer, {.resume = true}, nothing)), to_json(e));
    EXPECT_EQ(nothing.epochs, 0);
    EXPECT_EQ(to_json(finished_experiment(c.out).value()), to_json(e));
  }
}

TEST_F(Experiments, HonestKeepsItsEpochs) {
  TrainConfig c = config("out");
  Notes notes;
  run_experiment(c, {}, notes);
  c.epochs = 5;
  expect_error<std::invalid_argument>([&] { run_experiment(c, {.resume = true}, notes); },
                                      {"cannot resume", "epochs: with protocol = honest"});
}

TEST_F(Experiments, NeedTheTestSplitBeforeTheyTrain) {
  TrainConfig c = config("out");
  c.protocol = "last";
  c.grid.clear();
  c.final_test = false;
  Notes notes;
  expect_error<std::invalid_argument>([&] { run_experiment(c, {}, notes); }, {"final_test: must be on"});
  EXPECT_FALSE(fs::exists(c.out));
}

TEST_F(Experiments, HonestNeedsAValidationSplit) {
  folder.remove("data/val");
  Notes notes;
  const TrainConfig c = config("out");
  expect_error<std::invalid_argument>([&] { run_experiment(c, {}, notes); }, {"protocol: 'honest' needs a validation split"});
  EXPECT_FALSE(fs::exists(c.out));
}

TEST(Experiment, HonestTakesFiveSeedsWhereNoneAreGiven) {
  TrainConfig config;
  config.seed = 7;
  EXPECT_EQ(reported_seeds(config), (std::vector<int64_t>{7}));
  EXPECT_FALSE(is_experiment(config));
  config.protocol = "honest";
  EXPECT_EQ(reported_seeds(config), (std::vector<int64_t>{7, 8, 9, 10, 11}));
  config.seeds = "1,2";
  EXPECT_EQ(reported_seeds(config), (std::vector<int64_t>{1, 2}));
}

SuiteResult result(const std::string& name, const std::string& group, const std::vector<double>& accuracies) {
  Experiment experiment;
  for (const double accuracy : accuracies) experiment.runs.push_back({.test_score = accuracy});
  return {{name, group, "vtab:" + name}, experiment};
}

TEST(Suite, MeansOfGroupsAndOfDataSets) {
  const auto means = suite_means(
      {result("a", "natural", {0.5, 0.7}), result("b", "natural", {0.3, 0.3}), result("c", "structured", {0.1, 0.2})});
  ASSERT_EQ(means.size(), 4u);
  EXPECT_EQ(means[0].name, "natural");
  EXPECT_NEAR(means[0].score, 0.45, 1e-12);  // of 0.4 and 0.5, the seeds' means over the group
  EXPECT_NEAR(means[0].deviation.value(), 0.1 / std::sqrt(2.0), 1e-12);
  EXPECT_EQ(means[1].name, "structured");
  EXPECT_NEAR(means[1].score, 0.15, 1e-12);
  EXPECT_EQ(means[2].name, "mean of 3");
  EXPECT_NEAR(means[2].score, (0.6 + 0.3 + 0.15) / 3, 1e-12);
  EXPECT_NEAR(means[2].deviation.value(), 0.1 / std::sqrt(2.0), 1e-12);  // of 0.3 and 0.4
  EXPECT_EQ(means[3].name, "mean of groups");
  EXPECT_NEAR(means[3].score, 0.3, 1e-12);
  const auto uneven = suite_means({result("a", "", {0.5, 0.7}), result("b", "", {0.3})});
  ASSERT_EQ(uneven.size(), 1u);
  EXPECT_EQ(uneven[0].name, "mean of 2");
  EXPECT_NEAR(uneven[0].score, 0.45, 1e-12);
  EXPECT_FALSE(uneven[0].deviation);
}

TEST(Suite, NoMeansOfSeveralProtocols) {
  SuiteReport report{"vtab", 19, {result("a", "natural", {0.5}), result("b", "natural", {0.3})}, {{"c", "no image"}}};
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json.at("benchmark"), "vtab");
  EXPECT_EQ(json.at("all"), 19);
  EXPECT_EQ(json.at("protocol"), "last");
  EXPECT_EQ(json.at("failed"), nlohmann::json::parse(R"([{"dataset": "c", "error": "no image"}])"));
  EXPECT_EQ(json.at("means").size(), 3U);
  report.results[1].experiment.config.protocol = "honest";
  const auto mixed = nlohmann::json::parse(to_json(report));
  EXPECT_TRUE(mixed.at("protocol").is_null());
  EXPECT_EQ(mixed.at("means").size(), 0U);
  EXPECT_TRUE(suite_means(report.results).empty());
}

TEST(Suite, FindsWhatIsThere) {
  const test::Folder folder;
  for (const char* name : {"svhn", "dtd", "other"}) fs::create_directories(folder / name);
  folder.write("svhn/test.txt", "a.png 0\n");
  folder.write("dtd/test.txt", "a.png 0\n");
  const auto suite = suite_tasks("vtab:" + folder.path());
  ASSERT_EQ(suite.tasks.size(), 2u);
  EXPECT_EQ(suite.all, 19);
  EXPECT_EQ(suite.tasks[0].name, "dtd");
  EXPECT_EQ(suite.tasks[0].group, "natural");
  EXPECT_EQ(suite.tasks[0].data, "vtab:" + (folder / "dtd"));
  expect_error<std::invalid_argument>([] { suite_tasks("imagefolder:x"); }, {"expected vtab:ROOT or fgvc:ROOT"});
  expect_error<std::runtime_error>([&] { suite_tasks("fgvc:" + folder.path()); }, {"none of the 5 datasets of fgvc"});
  for (const char* name : {"flowers102", "OxfordFlowers"}) fs::create_directories(folder / name);
  expect_error<std::runtime_error>([&] { suite_tasks("fgvc:" + folder.path()); },
                                   {"both OxfordFlowers and flowers102 are Oxford Flowers"});
}

}  // namespace
}  // namespace respeft::runs
