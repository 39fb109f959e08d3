#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

// Merging and exporting change only the order of float32 sums.
constexpr double kRounding = 2e-5;

TEST(Predict, WritesTheLogitsOfTheAdaptedModel) {
  const SmallModel small;
  const at::Tensor logits = small.predict({"--weights", small.base(), "--adapter", small.adapter()});
  EXPECT_EQ(logits.sizes(), at::IntArrayRef({5, kClasses}));
  EXPECT_LT(relative_difference(small.logits, logits), kRounding);
  const at::Tensor base = small.predict({"--model", kModel, "--weights", small.base(), "--image-size", "32"});
  EXPECT_GT(relative_difference(small.logits, base), 1e-2) << "the adapter makes no difference";
}

TEST(Predict, BatchesDoNotChangeTheAnswer) {
  const SmallModel small;
  const at::Tensor one = small.predict({"--weights", small.base(), "--adapter", small.adapter(), "--batch-size", "2"});
  EXPECT_LT(relative_difference(small.logits, one), kRounding);
}

class RoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(RoundTrip, MergedAndExportedFilesGiveTheSameAnswers) {
  const SmallModel small(GetParam());
  const std::string merged = small.folder / "merged.safetensors", script = small.folder / "model.pt";
  const std::string timm = small.folder / "timm.safetensors";

  const Outcome merge = run({"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", merged, "--json"});
  ASSERT_EQ(merge.status, 0) << merge.err;
  const auto report = merge.json();
  ASSERT_TRUE(report.is_object()) << merge.out;
  EXPECT_LT(report["comparison"]["relative_difference"].get<double>(), kRounding);
  EXPECT_EQ(report["comparison"]["agreement"], 1.0);
  EXPECT_EQ(report["compared_on"], "random pixels");
  for (const auto& [key, tensor] : formats::SafetensorsFile(merged).tensors()) {
    EXPECT_EQ(key.find("adapter"), std::string::npos) << key;
  }
  EXPECT_LT(relative_difference(small.logits, small.predict({"--model", kModel, "--weights", merged, "--image-size", "32"})),
            kRounding);
  EXPECT_LT(relative_difference(small.logits, small.predict({"--weights", merged})), kRounding) << "metadata say the rest";

  const Outcome torchscript = run(
      {"export", "--weights", small.base(), "--adapter", small.adapter(), "--format", "torchscript", "--out", script, "--json"});
  ASSERT_EQ(torchscript.status, 0) << torchscript.err;
  EXPECT_LT(torchscript.json()["file"]["relative_difference"].get<double>(), kRounding);
  EXPECT_LT(relative_difference(small.logits, small.predict({"--torchscript", script})), kRounding);

  const Outcome plain = run({"export", "--weights", merged, "--format", "timm", "--out", timm});
  ASSERT_EQ(plain.status, 0) << plain.err;
  EXPECT_LT(relative_difference(small.logits, small.predict({"--model", kModel, "--weights", timm, "--image-size", "32"})),
            kRounding);
  EXPECT_EQ(small.folder.names(), (std::vector<std::string>{"adapter.safetensors", "base.safetensors", "merged.safetensors",
                                                            "model.pt", "pixels.safetensors", "timm.safetensors"}));
}

INSTANTIATE_TEST_SUITE_P(Methods, RoundTrip, testing::Values("rlrr", "ssf", "lora", "reslora-bs", "bitfit", "linear"));

TEST(Merge, ReportsEverySite) {
  const SmallModel small;
  const std::string out = small.folder / "merged.safetensors";
  const Outcome text = run({"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", out});
  EXPECT_EQ(text.status, 0) << text.err;
  for (const char* site : {"blocks.0.attn.qkv", "blocks.11.mlp.fc2", "patch_embed.proj", "blocks.5.norm1"}) {
    EXPECT_NE(text.out.find(site), std::string::npos) << text.out;
  }
}

/// A head of zeros answers every image alike, so that comparing it would certify anything.
TEST(Merge, SaysThatAHeadOfZerosWasReplacedWhileComparing) {
  const SmallModel small;
  formats::SafetensorsFile whole(small.adapter());
  auto tensors = whole.tensors();
  tensors.at("head.weight").zero_();
  const std::string adapter = small.folder / "zeros.safetensors", merged = small.folder / "merged.safetensors";
  formats::save_safetensors(adapter, tensors, whole.metadata());
  const Outcome text = run({"merge", "--weights", small.base(), "--adapter", adapter, "--out", merged});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("zeros, so a random one was compared in its place"), std::string::npos) << text.out;
  EXPECT_FALSE(formats::SafetensorsFile(merged).tensor("head.weight").any().item<bool>());
  for (const std::string command : {"merge", "export"}) {
    const Outcome outcome =
        run({command, "--weights", small.base(), "--adapter", adapter, "--out", small.folder / "out", "--json"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.json()["random_head"], true);
    // Rounding shows in the merge's logits; the exported file may compute the very same ones.
    if (command == "merge") {
      EXPECT_GT(outcome.json()["comparison"]["max_difference"].get<double>(), 0.0);
    }
  }
}

TEST(Merge, HowNamesAWayAndMethodStillDoes) {
  const SmallModel small;
  const auto merge = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", small.folder / "m"});
    return run(more);
  };
  EXPECT_EQ(merge({"--how", "exact"}).status, 0);
  EXPECT_EQ(merge({"--method", "exact"}).status, 0);
  expect_error(merge({"--how", "regresion"}), 2, {"--how", "did you mean 'regression'"});
  expect_error(merge({"--how", "drop"}), 2, {"--how drop", "no shortcut to approximate"});
  expect_error(merge({"--method", "drop"}), 2, {"--method drop", "no shortcut to approximate"});
  expect_error(merge({"--how", "drop", "--method", "scalar"}), 2, {"two ways to merge"});
}

/// Wherever Ctrl-C comes, no part of a file stays.
TEST(Export, CtrlCLeavesNothing) {
  const SmallModel small;
  const std::string place = small.folder / "place";
  std::filesystem::create_directory(place);
  for (const char* wait : {"0.5", "1", "1.5", "2.5"}) {
    const Outcome outcome = shell(std::string("timeout -s INT ") + wait + " \"$RESPEFT\" export --images 8192 --weights '" +
                                  small.base() + "' --adapter '" + small.adapter() + "' --out '" + place + "/model.pt'");
    EXPECT_NE(outcome.status, 0);
    EXPECT_TRUE(names_in(place).empty()) << testing::PrintToString(names_in(place));
  }
}

TEST(Merge, RefusesToWriteAboveTheTolerance) {
  const SmallModel small;
  const std::string out = small.folder / "merged.safetensors";
  const Outcome outcome =
      run({"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", out, "--tolerance", "-1"});
  expect_error(outcome, 1, {"tolerance", "nothing was written"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Merge, AnAdapterThatIsNotFiniteIsRefused) {
  const SmallModel small;
  auto file = adapters::load_adapter(small.adapter());
  file.tensors.at("head.bias").fill_(std::numeric_limits<float>::quiet_NaN());
  adapters::save_adapter(small.adapter(), file);
  const std::string out = small.folder / "merged.safetensors";
  expect_error(run({"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", out}), 1, {"nothing was written"});
  EXPECT_FALSE(std::filesystem::exists(out));
}

TEST(Adapter, AnotherBaseIsRefusedUnlessAllowed) {
  const SmallModel small;
  auto tensors = formats::SafetensorsFile(small.base()).tensors();
  tensors.at("norm.bias").add_(1e-3);
  const std::string other = small.folder / "other.safetensors";
  formats::save_safetensors(other, tensors);
  const std::string logits = small.folder / "logits.safetensors";
  expect_error(run({"predict", "--weights", other, "--adapter", small.adapter(), "--pixels", small.pixels(), "--logits", logits}),
               2, {"other weights", "--any-base"});
  EXPECT_FALSE(std::filesystem::exists(logits));
  small.predict({"--weights", other, "--adapter", small.adapter(), "--any-base"});
}

TEST(Adapter, WithoutMetadataNeedsAMethod) {
  const SmallModel small("lora", {{"rank", int64_t{4}}});
  formats::save_safetensors(small.adapter(), adapters::load_adapter(small.adapter()).tensors);
  const std::vector<std::string> flags = {"--model",   kModel,          "--weights",    small.base(),
                                          "--adapter", small.adapter(), "--image-size", "32"};
  auto without = flags;
  const std::string logits = small.folder / "logits.safetensors";
  without.insert(without.begin(), {"predict", "--pixels", small.pixels(), "--logits", logits});
  EXPECT_NE(run(without).status, 0);
  EXPECT_FALSE(std::filesystem::exists(logits));
  auto with = flags;
  with.insert(with.end(), {"--method", "lora", "--rank", "4"});
  EXPECT_LT(relative_difference(small.logits, small.predict(with)), kRounding);
}

TEST(Bench, CountsWhatIsKeptForTheBackward) {
  const std::vector<std::string> flags = {"bench", "--model", kModel, "--image-size", "32", "--batch-size",
                                          "2",     "--steps", "3",    "--json"};
  auto head = flags;
  head.insert(head.end(), {"--method", "linear"});
  const auto linear = run(head).json();
  ASSERT_TRUE(linear.is_object());
  // A linear probe of 100 classes keeps the head's input [2, 192], the log-probabilities [2, 100], the labels [2] and the
  // loss's total weight [1], all of 4 bytes but the labels of 8.
  EXPECT_EQ(linear["saved_bytes"], 4 * (2 * 192 + 2 * 100 + 1) + 8 * 2);
  EXPECT_EQ(linear["trained"], 192 * 100 + 100);
  EXPECT_EQ(linear["step_seconds"].size(), 3u);
  EXPECT_GT(linear["peak_rss"].get<int64_t>(), 50'000'000);

  const auto rlrr = run(flags).json();
  ASSERT_TRUE(rlrr.is_object());
  EXPECT_GT(rlrr["saved_bytes"], linear["saved_bytes"]);
  EXPECT_EQ(rlrr["method"], "rlrr");
}

TEST(Bench, InferenceKeepsNothing) {
  const auto result =
      run({"bench", "--model", kModel, "--image-size", "32", "--batch-size", "2", "--steps", "2", "--inference", "--json"});
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.json()["saved_bytes"], 0);
  EXPECT_EQ(result.json()["mode"], "inference");
}

TEST(Config, KeysAreFlagNamesAndFlagsWin) {
  const SmallModel small;
  const std::string config = small.folder / "predict.toml";
  write_text(config, "weights = \"" + small.base() + "\"\nadapter = \"" + small.adapter() + "\"\nbatch_size = 2\njson = true\n");
  const std::string out = small.folder / "logits.safetensors";
  const Outcome outcome = run({"predict", "--config", config, "--pixels", small.pixels(), "--logits", out});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.json()["images"], 5);
  EXPECT_LT(relative_difference(small.logits, formats::SafetensorsFile(out).tensor("logits")), kRounding);
  const Outcome overridden =
      run({"predict", "--config", config, "--batch-size", "0", "--pixels", small.pixels(), "--logits", out});
  expect_error(overridden, 2, {"--batch-size"});
}

}  // namespace
}  // namespace respeft::test
