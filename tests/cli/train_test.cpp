#include <filesystem>
#include <limits>
#include <map>

#include <respeft/formats/file.h>

#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

constexpr const char* kFashionMnist = "/usr/share/datasets/fashion-mnist";

/// Runs of `train` on a few real images.
class Train : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(kFashionMnist)) GTEST_SKIP() << "needs Debian's package dataset-fashion-mnist";
  }

  /// The command line of a run of two quick epochs in `run`, with `more` flags.
  std::vector<std::string> flags(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"train",
                                    "--model",
                                    kModel,
                                    "--weights",
                                    small.base(),
                                    "--image-size",
                                    "32",
                                    "--data",
                                    std::string("fashion-mnist:") + kFashionMnist,
                                    "--out",
                                    out(),
                                    "--method",
                                    "rlrr",
                                    "--epochs",
                                    "2",
                                    "--lr",
                                    "3e-3",
                                    "--warmup-epochs",
                                    "0",
                                    "--train-samples",
                                    "40",
                                    "--test-samples",
                                    "50",
                                    "--batch-size",
                                    "20",
                                    "--workers",
                                    "1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string out() const { return small.folder / "run"; }

  const SmallModel small;
};

TEST_F(Train, ARunIsWhatTheOtherCommandsTake) {
  const Outcome trained = run(flags({"--resize-size", "38", "--random-crop", "--json"}));
  ASSERT_EQ(trained.status, 0) << trained.err;
  const auto summary = trained.json();
  ASSERT_TRUE(summary.is_object()) << trained.out;
  EXPECT_EQ(names_in(out()),
            (std::vector<std::string>{"adapter.safetensors", "checkpoint", "config.toml", "metrics.jsonl", "summary.json"}));

  const Outcome eval = run({"eval", "--run", out(), "--limit", "50", "--json"});
  ASSERT_EQ(eval.status, 0) << eval.err;
  EXPECT_EQ(eval.json()["images"], 50);
  EXPECT_NEAR(eval.json()["accuracy"].get<double>(), summary["test_accuracy"].get<double>(), 1e-9);
  EXPECT_NEAR(eval.json()["loss"].get<double>(), summary["test_loss"].get<double>(), 1e-4) << "of other pixels";

  const at::Tensor logits = small.predict({"--run", out()});
  EXPECT_EQ(logits.sizes(), at::IntArrayRef({5, 10}));
  for (const std::string command : {"merge", "export"}) {
    for (const auto& read : {small.base(), out() + "/adapter.safetensors", out() + "/config.toml"})
      expect_error(run({command, "--run", out(), "--out", read}), 2, {"--out would overwrite " + read});
  }
  const std::string merged = small.folder / "merged.safetensors", script = small.folder / "model.pt";
  const Outcome merge = run({"merge", "--run", out(), "--out", merged, "--json"});
  ASSERT_EQ(merge.status, 0) << merge.err;
  const Outcome exported = run({"export", "--run", out(), "--format", "torchscript", "--out", script});
  ASSERT_EQ(exported.status, 0) << exported.err;
  // Merging and exporting change only the order of float32 sums.
  EXPECT_LT(relative_difference(logits, small.predict({"--weights", merged})), 2e-5);
  EXPECT_LT(relative_difference(logits, small.predict({"--torchscript", script})), 2e-5);
}

TEST_F(Train, AFinishedRunIsNotWrittenOver) {
  const Outcome trained = run(flags({"--epochs", "1"}));
  EXPECT_EQ(trained.status, 2) << "a flag given twice";
  auto once = flags();
  ASSERT_EQ(run(once).status, 0);
  const std::string before = read_text(out() + "/adapter.safetensors");
  expect_error(run(once), 2, {out(), "--resume"});
  expect_error(run({"train", "--resume", "--out", out(), "--lr", "1e-4"}), 2, {"lr:", "0.003", "0.0001"});
  EXPECT_EQ(read_text(out() + "/adapter.safetensors"), before);
  const Outcome more = run({"train", "--resume", "--out", out(), "--epochs", "3", "--json"});
  ASSERT_EQ(more.status, 0) << more.err;
  EXPECT_EQ(more.json()["epochs"], 3);
}

TEST_F(Train, WrongSettingsAreOneLineAndNothingIsWritten) {
  const auto without = [](std::vector<std::string> all, const std::string& flag) {
    const auto at = std::find(all.begin(), all.end(), flag);
    all.erase(at, at + 2);
    return all;
  };
  const auto with = [&](const std::string& flag, const std::string& value) {
    auto all = without(flags(), flag);
    all.insert(all.end(), {flag, value});
    return all;
  };
  const auto refused = [&](const std::vector<std::string>& arguments, int status, const std::vector<std::string>& words) {
    SCOPED_TRACE(arguments[arguments.size() - 2] + " " + arguments.back());
    expect_error(run(arguments), status, words);
    EXPECT_FALSE(std::filesystem::exists(out()));
  };
  refused(without(flags(), "--data"), 2, {"data"});
  refused(without(flags(), "--out"), 2, {"out"});
  refused(flags({"--rank", "4"}), 2, {"rlrr", "--rank"});
  refused(flags({"--epoch", "3"}), 2, {"unknown option '--epoch'", "did you mean '--epochs'"});
  refused(flags({"--protocol", "onest"}), 2, {"--protocol", "last, val, paper", "'onest'"});
  refused(flags({"--precision", "bfloat"}), 2, {"--precision", "bfloat16", "'bfloat'"});
  refused(with("--lr", "fast"), 2, {"--lr", "fast"});
  refused(flags({"--random-crop"}), 2, {"random_crop", "nothing to choose", "32"});
  refused(flags({"--resize-size", "31"}), 2, {"resize_size", "31", "at least 32"});
  refused(flags({"--resize-mode", "shorter"}), 2, {"--resize-mode", "squash, shortest", "'shorter'"});
  refused(with("--epochs", "0"), 2, {"epochs", "0"});
  refused(with("--data", "fashon-mnist:x"), 2, {"fashon-mnist", "did you mean 'fashion-mnist'"});
  refused(with("--data", "fashion-mnist:" + small.folder.path()), 1, {small.folder.path()});
  refused(with("--weights", small.folder / "none"), 1, {small.folder / "none", "No such file"});
  refused(with("--method", "lorra"), 2, {"lorra", "did you mean 'lora'"});
  refused({"train", "--resume", "--out", out()}, 2, {"--model"});  // there is nothing to resume, so it starts afresh
}

TEST_F(Train, ShortcutsThatDoNotFoldAreMergedWithTheirLossInSight) {
  auto arguments = flags();
  *std::find(arguments.begin(), arguments.end(), "rlrr") = "reslora-ms";
  ASSERT_EQ(run(arguments).status, 0);
  const std::string merged = small.folder / "merged.safetensors";
  const auto merge = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {"merge", "--run", out(), "--out", merged, "--calibration", "40", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return run(all);
  };
  const auto files = [&] {
    std::map<std::string, std::string> hashes = {{small.base(), formats::file_sha256(small.base())}};
    for (const auto& entry : std::filesystem::recursive_directory_iterator(out())) {
      if (entry.is_regular_file()) hashes[entry.path()] = formats::file_sha256(entry.path());
    }
    return hashes;
  };
  const auto untouched = files();
  EXPECT_GE(untouched.size(), 5u);
  expect_error(merge({}), 1, {"tolerance", "--accept-loss", "nothing was written"});
  expect_error(merge({"--method", "exact"}), 2, {"--method exact", "approximately"});
  expect_error(merge({"--method", "regresion"}), 2, {"regresion"});
  EXPECT_FALSE(std::filesystem::exists(merged));

  const Outcome outcome = merge({"--method", "regression", "--accept-loss"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto report = outcome.json();
  EXPECT_EQ(report["method"], "regression");
  EXPECT_FALSE(report["exact"].get<bool>());
  EXPECT_EQ(report["merges"].size(), 5u);
  const auto error = [&](const char* way) { return report["merges"][way]["error"].get<double>(); };
  EXPECT_LT(error("regression"), error("drop"));
  EXPECT_EQ(report["merges"]["regression"]["sites"]["blocks.0.attn.qkv"], 0.0);
  EXPECT_GT(report["merges"]["regression"]["sites"]["blocks.5.attn.qkv"], 0.0);
  // What was written computes what the report says.
  const at::Tensor before = small.predict({"--run", out()}), after = small.predict({"--weights", merged});
  EXPECT_GT(relative_difference(before, after), 1e-6);
  EXPECT_EQ(files(), untouched) << "merging changed the run or its base";
  // A merged file is a base like any other: this adapter was not made for it.
  expect_error(run({"merge", "--model", kModel, "--image-size", "32", "--weights", merged, "--adapter",
                    out() + "/adapter.safetensors", "--out", small.folder / "twice.safetensors", "--accept-loss"}),
               2, {"trained on other weights", "--any-base"});
}

TEST_F(Train, RanksAreAllocatedAndMerged) {
  auto arguments = flags({"--rank", "4", "--target-rank", "2", "--prune-every", "1"});
  *std::find(arguments.begin(), arguments.end(), "rlrr") = "reslora-bs";
  const Outcome trained = run(arguments);
  ASSERT_EQ(trained.status, 0) << trained.err;
  const auto tensors = formats::SafetensorsFile(out() + "/adapter.safetensors").tensors();
  int64_t kept = 0, all = 0;
  for (const auto& [key, tensor] : tensors) {
    EXPECT_EQ(key.find("rank_allocation"), std::string::npos) << "the allocation's own state belongs in the checkpoint";
    if (key.ends_with(".lora_E")) kept += tensor.ne(0).sum().item<int64_t>(), all += tensor.numel();
  }
  EXPECT_EQ(kept * 2, all);
  EXPECT_GT(all, 0);
  const Outcome merged = run({"merge", "--run", out(), "--out", small.folder / "merged.safetensors", "--json"});
  ASSERT_EQ(merged.status, 0) << merged.err;
  EXPECT_TRUE(merged.json()["exact"].get<bool>());
  std::filesystem::remove_all(out());
  *std::find(arguments.end() - 6, arguments.end(), "2") = "4";
  expect_error(run(arguments), 2, {"target_rank: must be below the rank of 4", "not 4"});
  arguments = flags({"--target-rank", "4", "--targets", "norm1"});
  *std::find(arguments.begin(), arguments.end(), "rlrr") = "lora";
  expect_error(run(arguments), 2, {"target_rank of 4", "they match norm1"});
  EXPECT_FALSE(std::filesystem::exists(out()));
}

TEST_F(Train, ALossThatIsNotFiniteStopsAtItsStep) {
  auto tensors = formats::SafetensorsFile(small.base()).tensors();
  tensors.at("blocks.3.mlp.fc1.bias").fill_(std::numeric_limits<float>::quiet_NaN());
  formats::save_safetensors(small.base(), tensors);
  expect_error(run(flags()), 1, {"loss", "step 1"});
  EXPECT_FALSE(std::filesystem::exists(out() + "/adapter.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(out() + "/summary.json"));
}

}  // namespace
}  // namespace respeft::test
