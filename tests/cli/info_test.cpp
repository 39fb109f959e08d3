#include <map>

#include <respeft/methods/method.h>

#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

struct Published {
  const char* model;
  int64_t trained;
};

class InfoCounts : public testing::TestWithParam<Published> {};

/// The adapters' parameters as the RLRR paper counts them (without the head).
TEST_P(InfoCounts, TrainedParametersAreThePapers) {
  const Outcome json = run({"info", "--model", GetParam().model, "--method", "rlrr", "--json"});
  ASSERT_EQ(json.status, 0) << json.err;
  EXPECT_EQ(json.json()["trained_adapters"], GetParam().trained);
  std::string grouped = std::to_string(GetParam().trained);
  for (size_t at = grouped.size(); at > 3;) grouped.insert(at -= 3, ",");
  const Outcome text = run({"info", "--model", GetParam().model, "--method", "rlrr", "--batch-size", "32"});
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.out.find(grouped), std::string::npos) << text.out;
}

INSTANTIATE_TEST_SUITE_P(Rlrr, InfoCounts,
                         testing::Values(Published{"vit_base_patch16_224", 288768}, Published{"vit_large_patch16_224", 765952},
                                         Published{"vit_huge_patch14_224", 1274880}));

/// README's table, for ViT-B/16: width d = 768, hidden h = 3072, 12 blocks, of four linear layers each (q, k, v in one).
TEST(Info, CountsTheParametersAndTheMemoryOfEveryMethod) {
  const int64_t d = 768, h = 3072, blocks = 12, rank = 8;
  const int64_t sides = 3 * (d + d) + (d + d) + 2 * (d + h);  // rows and columns of q, k, v, o, fc1 and fc2
  const std::map<std::string, int64_t> expected = {
      {"rlrr", 288768},
      {"lora", blocks * rank * sides},
      {"reslora-bs", blocks * rank * sides},
      {"reslora-is", blocks * rank * sides},
      {"reslora-ms", blocks * rank * sides},
      {"loha", 2 * blocks * rank * sides},
      {"lokr", 98304},
      {"ssf", 205824},
      {"bitfit", blocks * (3 * d + d + h + d + 2 * d) + d + d},  // of the linear layers, the norms and the patch projection
      {"adaptformer", blocks * (2 * d * 64 + 64 + d)},           // down, up and their biases
      {"vpt-shallow", 10 * d},
      {"vpt-deep", blocks * 10 * d},
      {"linear", 0},
      {"full", 0},  // no adapters: the base itself
  };
  for (const auto& entry : methods::registry()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(expected.contains(entry.name));
    const Outcome one = run({"info", "--model", "vit_base_patch16_224", "--method", entry.name, "--batch-size", "2", "--json"});
    ASSERT_EQ(one.status, 0) << one.err;
    const auto json = one.json();
    EXPECT_EQ(json["trained_adapters"], expected.at(entry.name));
    EXPECT_GT(json["training"]["saved_bytes"].get<int64_t>(), 0);
  }
}

TEST(Info, ParametersAndForwardAreTimms) {
  // timm 1.0: vit_base_patch16_224 with 1000 classes has 86,567,656 parameters.
  const auto result = run({"info", "--model", "vit_base_patch16_224", "--num-classes", "1000", "--json"}).json();
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["frozen"].get<int64_t>() + result["trained"].get<int64_t>(), 86567656);
  // timm's tables give 17.58 billion multiply-accumulates; the last block computes queries, projection and MLP for one of its
  // 197 tokens alone, which saves 196 · (2 · 768² + 2 · 768 · 3072 + 2 · 197 · 768) = 1.215 billion.
  EXPECT_NEAR(result["forward_flops_per_image"].get<double>() / 2e9, 17.58 - 1.215, 0.03);
}

TEST(Info, TheMemoryOfTrainingGrowsWithTheBatch) {
  const auto at = [](const std::string& batch) {
    return run({"info", "--model", "vit_tiny_patch16_224", "--method", "rlrr", "--batch-size", batch, "--json"})
        .json()["training"];
  };
  const auto small = at("4"), large = at("8");
  ASSERT_TRUE(small.is_object());
  EXPECT_GT(small["saved_bytes"].get<int64_t>(), 0);
  EXPECT_NEAR(large["saved_bytes"].get<double>() / small["saved_bytes"].get<double>(), 2.0, 0.05);
  EXPECT_EQ(large["parameter_bytes"], small["parameter_bytes"]);
}

TEST(Info, TheMemoryOfTrainingCountsTheRanksRunningMeans) {
  const std::vector<std::string> flags = {"info", "--model", kModel, "--method", "lora", "--target-rank", "4"};
  auto with_json = flags;
  with_json.push_back("--json");
  const auto training = run(with_json).json()["training"];
  ASSERT_TRUE(training.is_object());
  // Two for every number of A, E and B (rank 8), which of E are kept, and whether that is final.
  const int64_t factors = 12 * 8 * (3 * (192 + 192) + 2 * 192 + 2 * (192 + 768)), directions = 12 * 6 * 8;
  EXPECT_EQ(training["recorded_bytes"].get<int64_t>(), 4 * (2 * (factors + directions) + directions + 1));
  EXPECT_NE(run(flags).out.find("recorded of steps"), std::string::npos);
}

TEST(Info, ListsEverything) {
  const Outcome text = run({"info"});
  EXPECT_EQ(text.status, 0);
  for (const char* word : {"vit_base_patch16_224", "rlrr", "--targets", "imagefolder", "torchscript"}) {
    EXPECT_NE(text.out.find(word), std::string::npos) << word << " is not in\n" << text.out;
  }
  const auto result = run({"info", "--json"}).json();
  ASSERT_TRUE(result.is_object());
  EXPECT_GE(result["models"].size(), 5u);
  EXPECT_GE(result["methods"].size(), 6u);
}

TEST(Info, DescribesFiles) {
  const SmallModel small;
  const auto result = run({"info", small.adapter(), "--json"}).json();
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["metadata"]["method"], "rlrr");
  EXPECT_EQ(result["metadata"]["preprocessing"]["size"], kSize);
  const Outcome text = run({"info", small.adapter()});
  for (const char* word : {"rlrr", kModel, "blocks.0.attn.qkv.adapter.scale_in", "[3, 192]"}) {
    EXPECT_NE(text.out.find(word), std::string::npos) << word << " is not in\n" << text.out;
  }
  const std::string script = small.folder / "broken.safetensors";
  write_text(script, "not a file of tensors");
  expect_error(run({"info", script}), 1, {script});
}

TEST(Inspect, ShowsTheChangeOfEveryWeight) {
  const SmallModel small;
  const std::vector<std::string> flags = {"inspect",       "--weights", small.base(), "--adapter",
                                          small.adapter(), "--layers",  "blocks.0."};
  const Outcome text = run(flags);
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("blocks.0.mlp.fc1"), std::string::npos) << text.out;
  auto with_json = flags;
  with_json.push_back("--json");
  const auto result = run(with_json).json();
  ASSERT_TRUE(result.is_object());
  ASSERT_EQ(result["layers"].size(), 6u);  // q, k, v, proj, fc1, fc2
  for (const auto& layer : result["layers"]) {
    EXPECT_GT(layer["relative_change"].get<double>(), 0);
    EXPECT_EQ(layer["singular_values"].size(), 192u);
  }
}

TEST(Inspect, AProbeChangesNoWeight) {
  const SmallModel small("linear");
  const auto result = run({"inspect", "--weights", small.base(), "--adapter", small.adapter(), "--json"}).json();
  ASSERT_TRUE(result.is_object());
  EXPECT_EQ(result["layers"].size(), 0u);
  EXPECT_EQ(result["unchanged"].size(), 12u * 6 + 1);
}

}  // namespace
}  // namespace respeft::test
