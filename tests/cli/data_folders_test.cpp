#include <sys/stat.h>

#include <filesystem>

#include "tests/cli/small_model.h"
#include "tests/png.h"

// Image folders as people have them, through the program: what a training says, keeps and refuses.
namespace respeft::test {
namespace {

namespace fs = std::filesystem;

/// A folder of images, and trainings on it.
struct Folders : testing::Test {
  /// `count` images of one color each.
  void add(const std::string& place, int count, int first = 0) const {
    for (int i = 0; i < count; ++i) {
      const auto value = static_cast<uint8_t>(first + 10 * i);
      folder.write("data/" + place + "/" + std::to_string(i) + ".png", png(8, 8, std::vector<uint8_t>(8 * 8 * 3, value)));
    }
  }
  void add_splits(const std::vector<std::string>& splits, const std::vector<std::string>& classes, int count = 4) const {
    for (const auto& split : splits) {
      int first = 0;
      for (const auto& name : classes) add(split + "/" + name, count, first++);
    }
  }
  std::string spec() const { return "imagefolder:" + (folder / "data"); }
  std::string out(const std::string& name = "run") const { return folder / name; }
  Outcome train(const std::vector<std::string>& more, const std::string& name = "run") const {
    std::vector<std::string> all = {"train",  "--model", kModel,     "--image-size", "32",       "--weights", small.base(),
                                    "--data", spec(),    "--method", "linear",       "--epochs", "1",         "--warmup-epochs",
                                    "0",      "--lr",    "1e-2",     "--batch-size", "4",        "--out",     out(name)};
    for (size_t i = 0; i < more.size(); ++i) {
      const auto same = std::find(all.begin(), all.end(), more[i]);
      if (more[i].starts_with("--") && same != all.end()) {
        *(same + 1) = more[i + 1];
        ++i;
      } else {
        all.push_back(more[i]);
      }
    }
    return run(all);
  }

  Folder folder;
  SmallModel small;
};

TEST_F(Folders, AClassFolderThatIsNotUtf8IsTrainedAndPredicted) {
  add_splits({"train", "test"}, {"caf\xE9", "tea"});
  const Outcome trained = train({"--json"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  ASSERT_TRUE(fs::exists(out() + "/adapter.safetensors"));
  const std::string image = folder / "data/test/caf\xE9/0.png";
  const Outcome predicted = run({"predict", "--run", out(), "--json", image});
  ASSERT_EQ(predicted.status, 0) << predicted.err;
  ASSERT_TRUE(predicted.json().is_array()) << predicted.out;
  EXPECT_EQ(predicted.json()[0]["predictions"].size(), 2u);
  EXPECT_NE(predicted.out.find(R"("caf\\xe9")"), std::string::npos) << predicted.out;
  EXPECT_NE(run({"predict", "--run", out(), image}).out.find("caf\\xe9"), std::string::npos);
  const Outcome eval = run({"eval", "--run", out(), "--per-class", "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  EXPECT_EQ(eval.json()["classes"][0]["class"], "caf\\xe9");
  const Outcome doctor = run({"doctor", "--data", spec(), "--allow-warnings", "--json"});
  ASSERT_EQ(doctor.status, 0) << doctor.err;
  EXPECT_EQ(doctor.json()["data"]["class_names"][0], "caf\\xe9");
  const std::string merged = folder / "merged.safetensors", script = folder / "model.pt";
  ASSERT_EQ(run({"merge", "--run", out(), "--out", merged}).status, 0);
  ASSERT_EQ(run({"export", "--run", out(), "--format", "torchscript", "--out", script}).status, 0);
  EXPECT_NE(run({"predict", "--torchscript", script, image}).out.find("caf\\xe9"), std::string::npos);
}

TEST_F(Folders, APlaceThatIsNotUtf8IsRefusedBeforeTraining) {
  add_splits({"train", "test"}, {"a", "b"});
  expect_error(train({"--out", out("caf\xE9")}), 2, {"out:", "caf\\xe9", "not UTF-8"});
  EXPECT_FALSE(fs::exists(out("caf\xE9")));
}

TEST_F(Folders, AValidationSplitOfAnotherNameIsUsed) {
  add_splits({"training", "valid", "eval"}, {"a", "b"});
  const Outcome trained = train({"--protocol", "val", "--json"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(trained.json()["val_images"], 8);
  EXPECT_EQ(trained.json()["test_images"], 8);
  const Outcome doctor = run({"doctor", "--data", spec(), "--allow-warnings"});
  EXPECT_NE(doctor.out.find("val is read from valid/"), std::string::npos) << doctor.out;
}

TEST_F(Folders, APipeAmongTheImagesIsNamed) {
  add_splits({"train", "test"}, {"a", "b"});
  ASSERT_EQ(::mkfifo((folder / "data/train/a/pipe.png").c_str(), 0600), 0);
  expect_error(train({}), 1, {"train/a/pipe.png", "named pipe"});
  const Outcome doctor = run({"doctor", "--data", spec()});
  EXPECT_EQ(doctor.status, 1);
  EXPECT_NE(doctor.out.find("a named pipe"), std::string::npos) << doctor.out;
}

// -------------------------------------------------------------------------------------------------- folders of classes

TEST_F(Folders, AFolderOfClassesIsSplitAndTheRunRemembersHow) {
  add("a", 10);
  add("b", 20, 5);
  expect_error(train({}), 1, {"no train split", "--split 0.8"});
  expect_error(train({"--split", "0.8,0.8"}), 2, {"split:", "sum up to 1"});
  const Outcome trained = train({"--split", "0.8,0.1,0.1", "--json"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  EXPECT_EQ(trained.json()["train_images"], 27) << "train and val";
  EXPECT_EQ(trained.json()["test_images"], 3);
  EXPECT_NE(read_text(out() + "/config.toml").find("split = \"0.8,0.1,0.1\""), std::string::npos);

  const auto images = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"eval", "--run", out(), "--json"});
    const Outcome outcome = run(more);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.status == 0 ? outcome.json()["images"].get<int>() : -1;
  };
  const Outcome eval = run({"eval", "--run", out(), "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  EXPECT_NEAR(eval.json()["loss"].get<double>(), trained.json()["test_loss"].get<double>(), 1e-4) << "of other images";
  EXPECT_EQ(images({}), 3);
  EXPECT_EQ(images({"--split", "train"}), 24);
  EXPECT_EQ(images({"--data", spec()}), 3) << "the run's data, named again";
  EXPECT_EQ(images({"--shares", "0.5"}), 15);
  const Outcome merged = run({"merge", "--run", out(), "--out", folder / "m.safetensors", "--json"});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_EQ(merged.json()["comparison"]["images"], 3);
  const Outcome doctor = run({"doctor", "--data", spec(), "--split", "0.8,0.1,0.1", "--allow-warnings", "--json"});
  EXPECT_EQ(doctor.json()["data"]["splits"][0]["images"], 24);
  EXPECT_EQ(doctor.json()["data"]["images"]["different"], 30);
  expect_error(run({"train", "--resume", "--out", out(), "--split", "0.5", "--epochs", "2"}), 2,
               {"split:", "'0.8,0.1,0.1'", "'0.5'"});
}

// ------------------------------------------------------------------------------------------------------------- resuming

TEST_F(Folders, ARunGoesOnWithTheSameDataAlone) {
  add_splits({"train", "test"}, {"a", "b", "c"});
  const Outcome first = train({});
  ASSERT_EQ(first.status, 0) << first.err;
  const std::vector<std::string> resume = {"train", "--resume", "--out", out(), "--epochs", "2"};
  const std::string kept = read_text(out() + "/checkpoint/state.safetensors");
  const auto rename = [&](const std::string& from, const std::string& to) {
    for (const char* split : {"data/train/", "data/test/"}) fs::rename(folder / (split + from), folder / (split + to));
  };
  rename("a", "zebra");
  expect_error(run(resume), 2, {"cannot resume", out(), "data have changed", "class 0 was 'a' and is 'b'"});
  rename("zebra", "a");
  fs::copy(folder / "data/train/a/0.png", folder / "data/train/a/added.png");
  expect_error(run(resume), 2, {"data have changed", "train had 12 images and has 13"});
  fs::remove(folder / "data/train/a/added.png");
  fs::rename(folder / "data/test/a/0.png", folder / "data/test/a/other.png");
  expect_error(run(resume), 2, {"data have changed", "test has other images or labels"});
  fs::rename(folder / "data/test/a/other.png", folder / "data/test/a/0.png");
  EXPECT_EQ(read_text(out() + "/checkpoint/state.safetensors"), kept);
  const Outcome more = run(resume);
  EXPECT_EQ(more.status, 0) << more.err;
}

/// Runs of versions that did not keep what their data were go on.
TEST_F(Folders, ARunWithoutAFingerprintGoesOn) {
  add_splits({"train", "test"}, {"a", "b"});
  ASSERT_EQ(train({}).status, 0);
  fs::remove(out() + "/checkpoint/data.json");
  const Outcome more = run({"train", "--resume", "--out", out(), "--epochs", "2"});
  EXPECT_EQ(more.status, 0) << more.err;
  EXPECT_TRUE(fs::exists(out() + "/checkpoint/data.json"));
  write_text(out() + "/checkpoint/data.json", "{");
  expect_error(run({"train", "--resume", "--out", out(), "--epochs", "3"}), 1, {"checkpoint/data.json", "not a description"});
}

}  // namespace
}  // namespace respeft::test
