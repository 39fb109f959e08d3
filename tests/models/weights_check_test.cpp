#include <respeft/models/weights_check.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/safetensors.h>
#include <respeft/models/vit/weight_map.h>
#include <respeft/models/weights.h>

#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::models {
namespace {

using test::expect_error;

const std::string kTiny = "vit_tiny_patch16_224";

/// Zeros for every parameter of a model at 32 pixels with 7 classes.
struct CheckWeights : testing::Test {
  CheckWeights() {
    const auto model = models::create(kTiny, {.num_classes = 7, .image_size = 32, .device = at::kMeta});
    for (const auto& item : model->named_parameters()) state[item.key()] = at::zeros(item.value().sizes());
  }
  std::string save(const formats::Metadata& metadata = {}) const {
    formats::save_safetensors(folder / "weights.safetensors", state, metadata);
    return folder / "weights.safetensors";
  }
  WeightsCheck check(const std::string& model = kTiny, int64_t classes = 7, int64_t size = 32) const {
    return check_weights(save(), model, {.num_classes = classes, .image_size = size});
  }

  test::Folder folder;
  TensorMap state;
};

TEST_F(CheckWeights, EveryKeyMatches) {
  const auto result = check();
  EXPECT_EQ(result.fault, "");
  EXPECT_EQ(result.layout, "timm");
  EXPECT_EQ(result.matched.size(), state.size());
  EXPECT_TRUE(result.missing.empty() && result.unused.empty() && result.wrong_shapes.empty() && result.fitting.empty());
  EXPECT_EQ(result.head_classes, 7);
  EXPECT_EQ(result.file_grid, 2);
  EXPECT_EQ(result.file_patch, 16);
  EXPECT_FALSE(result.positions_resampled());
  EXPECT_FALSE(result.normalization);
}

TEST_F(CheckWeights, AnotherGridAndAnotherHeadAreFine) {
  const auto result = check(kTiny, 3, 64);
  EXPECT_EQ(result.fault, "");
  EXPECT_TRUE(result.positions_resampled());
  EXPECT_EQ(result.file_grid, 2);
  EXPECT_EQ(result.model_grid, 4);
  EXPECT_EQ(result.missing, (std::vector<std::string>{"head.weight", "head.bias"}));
  EXPECT_EQ(result.unused, result.missing);
  EXPECT_EQ(result.matched.size(), state.size() - 2);
  EXPECT_EQ(check(kTiny, 0).unused, (std::vector<std::string>{"head.bias", "head.weight"}));
}

TEST_F(CheckWeights, EveryKeyThatDoesNotMatchIsNamed) {
  state["blocks.3.mlp.fc1.weigth"] = state["blocks.3.mlp.fc1.weight"];
  state.erase("blocks.3.mlp.fc1.weight");
  state.erase("norm.bias");
  state["cls_token"] = at::zeros({1, 1, 5});
  const auto result = check();
  EXPECT_NE(result.fault.find("blocks.3.mlp.fc1.weigth"), std::string::npos) << result.fault;
  EXPECT_EQ(result.fault.find("weights.safetensors"), std::string::npos) << result.fault;
  EXPECT_EQ(result.missing, (std::vector<std::string>{"blocks.3.mlp.fc1.weight", "norm.bias"}));
  EXPECT_EQ(result.unused, (std::vector<std::string>{"blocks.3.mlp.fc1.weigth"}));
  EXPECT_EQ(result.wrong_shapes,
            (std::vector<std::string>{"'cls_token' has shape [1, 1, 5]; vit_tiny_patch16_224 takes [1, 1, 192]"}));
  EXPECT_EQ(result.matched.size() + 2, state.size());  // all but the misnamed and the misshapen one
}

TEST_F(CheckWeights, PositionsAndPatchesOfOtherShapesDoNotMatch) {
  const auto wrong = [&](const std::string& key, at::IntArrayRef shape) {
    const at::Tensor right = std::exchange(state[key], at::zeros(shape));
    const auto result = check();
    state[key] = right;
    EXPECT_NE(result.fault, "");
    EXPECT_EQ(result.matched.size() + 1, state.size());
    return result.wrong_shapes.size() == 1 && result.wrong_shapes[0].starts_with("'" + key + "' has shape");
  };
  EXPECT_TRUE(wrong("pos_embed", {1, 5, 191}));
  EXPECT_TRUE(wrong("pos_embed", {2, 5, 192}));
  EXPECT_TRUE(wrong("pos_embed", {1, 6, 192}));
  EXPECT_TRUE(wrong("patch_embed.proj.weight", {192, 1, 16, 16}));
  EXPECT_TRUE(wrong("patch_embed.proj.weight", {192, 4, 16, 16}));
  EXPECT_TRUE(wrong("patch_embed.proj.weight", {191, 3 * 16 * 16}));
  state["patch_embed.proj.weight"] = at::zeros({192, 3 * 16 * 16});  // a linear's over flattened patches
  EXPECT_EQ(check().fault, "");
  EXPECT_EQ(check().matched.size(), state.size());
}

TEST_F(CheckWeights, ValuesThatAreNotFiniteAreNamed) {
  EXPECT_TRUE(check().not_finite.empty());
  state["norm.bias"] = state["norm.bias"].clone();
  state["norm.bias"][5] = NAN;
  state["blocks.1.attn.proj.bias"] = at::full({192}, INFINITY, at::kHalf);
  EXPECT_EQ(check().not_finite, (std::vector<std::string>{"blocks.1.attn.proj.bias", "norm.bias"}));
}

TEST_F(CheckWeights, ADinov2ClassifiersHeadIsReadWhereItIgnoresTheMean) {
  const size_t parameters = state.size();
  state = to_huggingface_layout(state, "dinov2");
  ASSERT_EQ(state.at("classifier.weight").size(1), 2 * 192);
  const auto result = check();
  EXPECT_EQ(result.fault, "");
  EXPECT_EQ(result.layout, "huggingface");
  EXPECT_EQ(result.head_classes, 7);
  EXPECT_EQ(result.matched.size(), parameters);
  EXPECT_TRUE(result.missing.empty() && result.unused.empty() && result.wrong_shapes.empty());
  state["classifier.weight"] = at::ones({7, 2 * 192});
  const auto wide = check();
  EXPECT_EQ(wide.fault, "");
  EXPECT_EQ(wide.head_classes, 0);
  EXPECT_EQ(wide.missing, (std::vector<std::string>{"head.weight", "head.bias"}));
  EXPECT_EQ(wide.unused, (std::vector<std::string>{"classifier.bias", "classifier.weight"}));
}

TEST_F(CheckWeights, SaysWhichModelTheFileIsFor) {
  const auto result = check("vit_small_patch32_224");
  EXPECT_NE(result.fault, "");
  EXPECT_EQ(result.file_patch, 16);
  EXPECT_EQ(result.model_patch, 32);
  EXPECT_EQ(result.fitting, (std::vector<std::string>{"vit_tiny_patch16_224", "vit_tiny_patch16_384"}));
  EXPECT_GT(result.wrong_shapes.size(), 100u);
  for (const char* key : {"'pos_embed'", "'patch_embed.proj.weight'"}) {
    EXPECT_TRUE(std::any_of(result.wrong_shapes.begin(), result.wrong_shapes.end(), [&](const std::string& line) {
      return line.starts_with(key);
    })) << key;
  }
}

TEST_F(CheckWeights, AForeignFileIsSaidToBeOne) {
  state = {{"conv1.weight", at::zeros({3})}};
  const auto result = check();
  EXPECT_NE(result.fault.find("'conv1.weight'"), std::string::npos) << result.fault;
  EXPECT_EQ(result.layout, "");
  EXPECT_EQ(result.unused, (std::vector<std::string>{"conv1.weight"}));
  EXPECT_GT(result.missing.size(), 100u);
  expect_error<std::runtime_error>([&] { check_weights(folder / "none", kTiny); }, {"none"});
  expect_error<std::invalid_argument>([&] { check("vit_tinny_patch16_224"); }, {"did you mean 'vit_tiny_patch16_224'"});
}

using Channels = std::array<double, 3>;
constexpr Channels kHalf = {0.5, 0.5, 0.5}, kImagenet = {0.485, 0.456, 0.406}, kClip = {0.48145466, 0.4578275, 0.40821073};

// Expected: `mean` in timm 1.0.31's default_cfgs of these very names.
TEST_F(CheckWeights, NormalizationByTheFamilysName) {
  const std::string path = save();
  const auto mean = [&](const std::string& model) {
    const auto known = known_normalization(path, model);
    return known ? known->mean : Channels{};
  };
  EXPECT_EQ(mean("vit_base_patch16_224.augreg_in21k"), kHalf);
  EXPECT_EQ(mean("vit_base_patch16_224.augreg2_in21k_ft_in1k"), kHalf);
  EXPECT_EQ(mean("vit_base_patch16_224.orig_in21k"), kHalf);
  EXPECT_EQ(mean("vit_base_patch16_224.dino"), kImagenet);
  EXPECT_EQ(mean("vit_small_patch14_dinov2.lvd142m"), kImagenet);
  EXPECT_EQ(mean("vit_base_patch16_224.mae"), kImagenet);
  EXPECT_EQ(mean("deit_base_patch16_224.fb_in1k"), kImagenet);
  EXPECT_EQ(mean("vit_base_patch16_clip_224.openai"), kClip);
  for (const char* unknown : {"vit_base_patch16_224", "vit_large_patch14_clip_224.laion2b", "vit_large_patch16_dinov3.sat493m"}) {
    EXPECT_FALSE(known_normalization(path, unknown)) << unknown;  // timm's are 0.5 for laion2b, 0.43 for sat493m
  }
}

TEST_F(CheckWeights, NormalizationByTheFileAndItsCompanions) {
  const std::string model = kTiny + ".augreg_in21k";
  folder.write("config.json", R"({"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}})");
  const auto timm = known_normalization(save(), model);
  ASSERT_TRUE(timm);
  EXPECT_EQ(timm->mean, (Channels{0.1, 0.2, 0.3}));
  EXPECT_EQ(timm->std, (Channels{0.4, 0.5, 0.6}));
  EXPECT_NE(timm->source.find("config.json"), std::string::npos);
  folder.write("preprocessor_config.json", R"({"image_mean": [0.7, 0.7, 0.7], "image_std": [0.8, 0.8, 0.8]})");
  EXPECT_EQ(known_normalization(save(), model)->mean, (Channels{0.7, 0.7, 0.7}));
  const data::Preprocessing own{.mean = kImagenet, .std = {0.229, 0.224, 0.225}};
  EXPECT_EQ(known_normalization(save({{"preprocessing", to_json(own)}}), model)->mean, kImagenet);
  for (const char* broken :
       {"{", "[]", R"({"image_mean": [1, 2], "image_std": [1, 2, 3]})", R"({"image_mean": "a", "image_std": 3})"}) {
    folder.write("preprocessor_config.json", broken);
    EXPECT_EQ(known_normalization(save(), model)->mean, (Channels{0.1, 0.2, 0.3})) << broken;
  }
}

}  // namespace
}  // namespace respeft::models
