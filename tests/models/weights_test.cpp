#include <respeft/models/vit/weight_map.h>
#include <respeft/models/weights.h>
#include <respeft/models/weights_check.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/formats/safetensors.h>
#include <respeft/methods/rlrr.h>
#include <respeft/nn/linear.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft::models {
namespace {

using test::expect_error;
using test::Folder;
using test::random_images;
using test::random_model;
using test::small_config;

/// A clone of a model's plain state, to be damaged.
TensorMap state_of(const models::Model& model) {
  TensorMap state = plain_state(model);
  for (auto& [key, tensor] : state) tensor = tensor.clone();
  return state;
}

TEST(LoadWeights, RestoresAModelFromItsFile) {
  const Folder folder;
  const auto saved = random_model(small_config(), 1), loaded = random_model(small_config(), 2);
  formats::save_safetensors(folder / "f", plain_state(*saved));
  const LoadReport report = load_weights(*loaded, folder / "f");
  EXPECT_EQ(report.layout, "timm");
  EXPECT_TRUE(report.missing.empty() && report.unused.empty() && !report.positions_resampled);
  const auto images = random_images(small_config());
  EXPECT_TRUE(at::equal(test::logits(*saved, images), test::logits(*loaded, images)));
}

TEST(LoadWeights, ConvertsHalfPrecision) {
  const auto saved = random_model(small_config(), 1), loaded = random_model(small_config(), 2);
  TensorMap state = state_of(*saved);
  for (auto& [key, tensor] : state) tensor = tensor.to(at::kHalf);
  load_weights(*loaded, state, "half");
  EXPECT_EQ(loaded->pos_embed.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(loaded->pos_embed, state.at("pos_embed").to(at::kFloat)));
}

TEST(LoadWeights, LeavesOutAHeadOfOtherClasses) {
  auto config = small_config();
  const auto saved = random_model(config, 1);
  config.num_classes = 7;
  const auto loaded = random_model(config, 2);
  const auto head = loaded->head->weight.clone();
  const LoadReport report = load_weights(*loaded, state_of(*saved), "f");
  EXPECT_EQ(report.unused, (std::vector<std::string>{"head.bias", "head.weight"}));
  EXPECT_EQ(report.missing, (std::vector<std::string>{"head.bias", "head.weight"}));
  EXPECT_TRUE(at::equal(loaded->head->weight, head));
  EXPECT_TRUE(at::equal(loaded->pos_embed, saved->pos_embed));
}

TEST(LoadWeights, TakesAFileWithoutAHeadAndAModelWithoutOne) {
  auto headless = small_config();
  headless.num_classes = 0;
  const auto with = random_model(small_config(), 1), without = random_model(headless, 2);
  EXPECT_EQ(load_weights(*without, state_of(*with), "f").unused.size(), 2u);
  EXPECT_EQ(load_weights(*with, state_of(*without), "f").missing.size(), 2u);
}

TEST(LoadWeights, ResamplesPositionsToTheModelsGrid) {
  auto config = small_config();
  const auto saved = random_model(config, 1);
  config.image_size = 24;
  const auto loaded = random_model(config, 2);
  EXPECT_TRUE(load_weights(*loaded, state_of(*saved), "f").positions_resampled);
  EXPECT_EQ(loaded->pos_embed.sizes(), at::IntArrayRef({1, 37, 32}));
  EXPECT_TRUE(at::equal(loaded->pos_embed.narrow(1, 0, 1), saved->pos_embed.narrow(1, 0, 1))) << "the class token's stays";
  // A resampled constant is that constant.
  TensorMap state = state_of(*saved);
  state["pos_embed"].fill_(0.75);
  load_weights(*loaded, state, "f");
  EXPECT_TRUE(at::allclose(loaded->pos_embed, at::full({1, 37, 32}, 0.75)));
}

TEST(LoadWeights, ReshapesAPatchProjectionOverFlattenedPatches) {
  const auto saved = random_model(small_config(), 1), loaded = random_model(small_config(), 2);
  TensorMap state = state_of(*saved);
  state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1);
  load_weights(*loaded, state, "f");
  EXPECT_TRUE(at::equal(loaded->patch_embed->proj->weight, saved->patch_embed->proj->weight));
}

TEST(LoadWeights, OfAnotherPoolingKeepsAFreshFinalNormUnlessTheHeadNeedsIt) {
  auto config = small_config();
  const auto token = random_model(config, 1);
  config.mean_pooling = true;
  const auto same_head = random_model(config, 2);
  expect_error<std::runtime_error>([&] { load_weights(*same_head, state_of(*token), "f"); },
                                   {"f: ", "'norm.bias'", "'fc_norm.bias'", "another pooling"});
  config.num_classes = 3;
  const auto other_head = random_model(config, 2);
  const auto fresh = other_head->fc_norm->weight.clone();
  const LoadReport report = load_weights(*other_head, state_of(*token), "f");
  EXPECT_TRUE(at::equal(other_head->fc_norm->weight, fresh));
  EXPECT_EQ(report.unused, (std::vector<std::string>{"head.bias", "head.weight", "norm.bias", "norm.weight"}));
  EXPECT_EQ(report.missing.size(), 4u);
}

TEST(LoadWeights, AMisspeltFinalNormIsNoOtherPooling) {
  auto config = small_config();
  config.num_classes = 0;
  const auto model = random_model(config, 1);
  for (const char* spelling : {"norm.gamma", "fc_norm.gamma"}) {
    TensorMap state = state_of(*model);
    state[spelling] = state.at("norm.weight");
    state.erase("norm.weight");
    expect_error<std::runtime_error>([&] { load_weights(*model, state, "f"); }, {std::string("no place for '") + spelling + "'"});
  }
}

struct Damage {
  std::string name;
  std::function<void(TensorMap&)> apply;
  std::vector<std::string> faults;
};

TEST(LoadWeights, RefusesWhatDoesNotFitAndLeavesTheModelAlone) {
  const auto saved = random_model(small_config(), 1), loaded = random_model(small_config(), 2);
  const auto rename = [](const char* from, const char* to) {
    return [=](TensorMap& state) {
      state[to] = state.at(from);
      state.erase(from);
    };
  };
  const auto put = [](const char* key, const at::Tensor& value) { return [=](TensorMap& state) { state[key] = value; }; };
  const std::vector<Damage> damages = {
      {"missing",
       [](TensorMap& state) { state.erase("blocks.1.mlp.fc1.bias"); },
       {"vit_small_test needs 'blocks.1.mlp.fc1.bias'", "missing"}},
      {"typo",
       rename("blocks.1.mlp.fc1.bias", "blocks.1.mpl.fc1.bias"),
       {"no place for 'blocks.1.mpl.fc1.bias'", "did it mean 'blocks.1.mlp.fc1.bias'?"}},
      {"deeper", put("blocks.2.norm1.weight", at::ones({32})), {"no place for 'blocks.2.norm1.weight'"}},
      {"registers", put("reg_token", at::ones({1, 4, 32})), {"no place for 'reg_token'"}},
      {"wider",
       put("blocks.0.attn.qkv.weight", at::ones({96, 48})),
       {"'blocks.0.attn.qkv.weight' has shape [96, 48]", "takes [96, 32]"}},
      {"other patches",
       put("patch_embed.proj.weight", at::ones({32, 3, 8, 8})),
       {"'patch_embed.proj.weight' has shape [32, 3, 8, 8]"}},
      {"flat patches of another size",
       put("patch_embed.proj.weight", at::ones({32, 50})),
       {"'patch_embed.proj.weight' has shape [32, 50]"}},
      {"integers", put("norm.weight", at::ones({32}, at::kLong)), {"'norm.weight' holds Long"}},
      {"positions not square",
       put("pos_embed", at::ones({1, 1 + 15, 32})),
       {"'pos_embed' has shape [1, 16, 32]", "[1, 1 + n², 32]"}},
      {"positions of another width", put("pos_embed", at::ones({1, 1 + 36, 16})), {"'pos_embed' has shape [1, 37, 16]"}},
      {"no positions", put("pos_embed", at::ones({1, 0, 32})), {"'pos_embed' has shape [1, 0, 32]"}},
      {"scalar positions", put("pos_embed", at::ones({})), {"'pos_embed' has shape []"}},
      {"head of other features", put("head.weight", at::ones({5, 16})), {"'head.weight' has shape [5, 16]", "takes [5, 32]"}},
      {"head without bias", [](TensorMap& state) { state.erase("head.bias"); }, {"needs 'head.bias'"}},
      {"nothing", [](TensorMap& state) { state.clear(); }, {"it holds no tensors"}},
      {"something else",
       [](TensorMap& state) {
         state = {{"conv1.weight", at::ones({1})}};
       },
       {"'conv1.weight'", "neither timm's"}},
  };
  const std::string before = base_sha256(*loaded);
  for (const auto& damage : damages) {
    SCOPED_TRACE(damage.name);
    TensorMap state = state_of(*saved);
    damage.apply(state);
    auto faults = damage.faults;
    faults.push_back("weights.safetensors: ");
    expect_error<std::runtime_error>([&] { load_weights(*loaded, state, "weights.safetensors"); }, faults);
    EXPECT_EQ(base_sha256(*loaded), before);
  }
}

TEST(LoadWeights, RefusesAModelWithAdapters) {
  const auto model = random_model(small_config());
  const TensorMap state = state_of(*model);
  attach(*model, Rlrr());
  expect_error<std::invalid_argument>([&] { load_weights(*model, state, "f"); }, {"adapters attached"});
  expect_error<std::invalid_argument>([&] { plain_state(*model); }, {"adapters attached", ".adapter."});
}

/// Hugging Face's names for one layer, as `save_pretrained` writes them; tests/interop loads real files.
TensorMap huggingface_layer(const std::string& before) {
  const std::string layer = before + "encoder.layer.0.";
  TensorMap tensors = {{before + "embeddings.patch_embeddings.projection.weight", at::zeros({2, 3, 4, 4})},
                       {before + "embeddings.cls_token", at::full({1, 1, 2}, 10.0)},
                       {before + "embeddings.position_embeddings", at::arange(10, at::kFloat).view({1, 5, 2})},
                       {before + "embeddings.mask_token", at::zeros({1, 2})},
                       {before + "layernorm.weight", at::ones({2})},
                       {before + "pooler.dense.weight", at::zeros({2, 2})},
                       {layer + "attention.output.dense.bias", at::full({2}, 4.0)},
                       {layer + "output.dense.bias", at::full({2}, 5.0)},
                       {layer + "layernorm_after.bias", at::full({2}, 6.0)},
                       {layer + "layer_scale2.lambda1", at::full({2}, 7.0)},
                       {"classifier.weight", at::zeros({3, 2})}};
  double value = 1.0;
  for (const char* part : {"query", "key", "value"})
    tensors[layer + "attention.attention." + part + ".weight"] = at::full({2, 2}, value++);
  return tensors;
}

std::vector<std::string> keys(const TensorMap& tensors) {
  std::vector<std::string> names;
  for (const auto& [key, tensor] : tensors) names.push_back(key);
  return names;
}

TEST(ToTimmLayout, RenamesAndFusesHuggingFace) {
  for (const char* prefix : {"", "vit.", "dinov2."}) {
    std::string layout;
    const TensorMap timm = to_timm_layout(huggingface_layer(prefix), layout);
    EXPECT_EQ(layout, "huggingface");
    EXPECT_EQ(keys(timm), (std::vector<std::string>{"blocks.0.attn.proj.bias", "blocks.0.attn.qkv.weight", "blocks.0.ls2.gamma",
                                                    "blocks.0.mlp.fc2.bias", "blocks.0.norm2.bias", "cls_token", "head.weight",
                                                    "norm.weight", "patch_embed.proj.weight", "pos_embed"}));
    EXPECT_TRUE(at::equal(timm.at("blocks.0.attn.qkv.weight"),
                          at::tensor({1., 1., 1., 1., 2., 2., 2., 2., 3., 3., 3., 3.}, at::kFloat).view({6, 2})));
    EXPECT_EQ(timm.at("blocks.0.attn.proj.bias")[0].item<float>(), 4.0f);
    EXPECT_EQ(timm.at("blocks.0.mlp.fc2.bias")[0].item<float>(), 5.0f);
    EXPECT_EQ(timm.at("blocks.0.norm2.bias")[0].item<float>(), 6.0f);
    EXPECT_EQ(timm.at("blocks.0.ls2.gamma")[0].item<float>(), 7.0f);
  }
}

TEST(ToTimmLayout, AddsTheClassTokensPositionWhereThereAreRegisters) {
  TensorMap tensors = huggingface_layer("dinov2_with_registers.");
  tensors["dinov2_with_registers.embeddings.register_tokens"] = at::ones({1, 4, 2});
  std::string layout;
  const TensorMap timm = to_timm_layout(tensors, layout);
  EXPECT_TRUE(at::equal(timm.at("reg_token"), at::ones({1, 4, 2})));
  EXPECT_TRUE(at::equal(timm.at("cls_token"), at::tensor({10.0f, 11.0f}).view({1, 1, 2})));
  EXPECT_TRUE(at::equal(timm.at("pos_embed"), at::arange(2, 10, at::kFloat).view({1, 4, 2})));
}

TEST(ToTimmLayout, SetsAHeadThatReadsMoreThanTheClassTokenAside) {
  TensorMap tensors = huggingface_layer("dinov2.");
  tensors["classifier.weight"] = at::eye(4).narrow(0, 0, 3);
  tensors["classifier.bias"] = at::zeros({3});
  std::string layout;
  const TensorMap timm = to_timm_layout(tensors, layout);
  EXPECT_EQ(timm.count("head.weight") + timm.count("head.bias"), 0u);
  EXPECT_EQ(timm.count("classifier.weight") + timm.count("classifier.bias"), 2u);
  EXPECT_EQ(head_classes(timm), 0);

  tensors["classifier.weight"][2][2] = 0.0;  // now it reads the class token alone
  const TensorMap narrow = to_timm_layout(tensors, layout);
  EXPECT_TRUE(at::equal(narrow.at("head.weight"), at::tensor({1.0f, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f}).view({3, 2})));
  const Folder folder;
  formats::save_safetensors(folder / "wide", tensors);
  EXPECT_EQ(head_classes_of_file(folder / "wide"), 3);
}

TEST(ToHuggingFaceLayout, IsReadBackAsItWas) {
  auto plain = small_config();
  auto dinov2 = small_config();
  dinov2.layer_scale = 1e-5;
  auto registers = dinov2;
  registers.register_tokens = 4;
  registers.position_for_prefix = false;
  const std::vector<std::tuple<std::string, models::VitConfig, std::string, std::string>> cases = {
      {"vit", plain, "vit.encoder.layer.1.layernorm_before.bias", "vit.encoder.layer.0.intermediate.dense.weight"},
      {"dinov2", dinov2, "dinov2.encoder.layer.1.norm1.bias", "dinov2.encoder.layer.0.layer_scale1.lambda1"},
      {"dinov2_with_registers", registers, "dinov2_with_registers.embeddings.register_tokens",
       "dinov2_with_registers.encoder.layer.0.attention.attention.key.weight"},
  };
  for (const auto& [type, config, one, other] : cases) {
    SCOPED_TRACE(type);
    const TensorMap state = plain_state(*random_model(config));
    const TensorMap written = to_huggingface_layout(state, type);
    EXPECT_EQ(written.count(one) + written.count(other), 2u);
    EXPECT_EQ(written.at("classifier.weight").size(1), type == "vit" ? 32 : 64);
    std::string layout;
    const TensorMap read = to_timm_layout(written, layout);
    EXPECT_EQ(layout, "huggingface");
    ASSERT_EQ(keys(read), keys(state));
    for (const auto& [key, tensor] : state) EXPECT_TRUE(at::equal(read.at(key), tensor)) << key;
  }
}

/// What Transformers' config.json says of heads, activation and epsilon is not in the tensors.
TEST(LoadWeights, RefusesAHuggingFaceModelThatComputesSomethingElse) {
  const auto model = random_model(small_config());
  const Folder folder;
  const std::string path = folder / "model.safetensors";
  formats::save_safetensors(path, to_huggingface_layout(plain_state(*model), "vit"));
  const auto load = [&](const std::string& config) {
    folder.write("config.json", config);
    return load_weights(*model, path);
  };
  EXPECT_EQ(load(R"({"model_type": "vit", "num_attention_heads": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12})").layout,
            "huggingface");
  EXPECT_EQ(load(R"({"model_type": "vit"})").layout, "huggingface");
  EXPECT_EQ(load(R"({"architecture": "x", "hidden_act": "relu"})").layout, "huggingface") << "not Transformers'";
  const auto expect_refused = [&](const std::string& member, const std::vector<std::string>& words) {
    const std::string config = R"({"model_type": "vit", )" + member + "}";
    expect_error<std::runtime_error>([&] { load(config); }, words);
    EXPECT_NE(check_weights(path, "vit_tiny_patch16_224").fault, "");
  };
  expect_refused(R"("num_attention_heads": 4)", {folder / "config.json", "'num_attention_heads' is 4", "has 2"});
  expect_refused(R"("num_attention_heads": null)", {"'num_attention_heads' is null"});
  expect_refused(R"("hidden_act": "relu")", {"'hidden_act' is \"relu\"", "has gelu"});
  expect_refused(R"("layer_norm_eps": 1e-2)", {"'layer_norm_eps' is 0.01", "has 1e-06"});
  expect_refused(R"("layer_norm_eps": "1e-6")", {"'layer_norm_eps' is \"1e-6\""});
  expect_error<std::runtime_error>([&] { load("[]"); }, {"config.json: not a JSON object"});
}

TEST(ToHuggingFaceLayout, RefusesWhatHasNoPlace) {
  TensorMap state = plain_state(*random_model(small_config()));
  expect_error<std::invalid_argument>([&] { to_huggingface_layout(state, "vitt"); }, {"did you mean 'vit'?"});
  state["blocks.0.ls1.gamma"] = at::ones({32});
  expect_error<std::invalid_argument>([&] { to_huggingface_layout(state, "vit"); }, {"vit", "'blocks.0.ls1.gamma'"});
}

TEST(ToTimmLayout, RefusesTornProjections) {
  std::string layout;
  TensorMap missing = huggingface_layer("vit.");
  missing.erase("vit.encoder.layer.0.attention.attention.key.weight");
  expect_error<std::runtime_error>([&] { to_timm_layout(missing, layout); }, {"'blocks.0.attn.k.weight' is missing"});
  TensorMap uneven = huggingface_layer("vit.");
  uneven["vit.encoder.layer.0.attention.attention.value.weight"] = at::zeros({3, 2});
  expect_error<std::runtime_error>([&] { to_timm_layout(uneven, layout); }, {"differ in shape or dtype"});
  TensorMap twice = huggingface_layer("vit.");
  twice["vit.layers.0.attention.q_proj.weight"] = at::zeros({2, 2});
  expect_error<std::runtime_error>([&] { to_timm_layout(twice, layout); }, {"a second 'blocks.0.attn.q.weight'"});
}

TEST(ToTimmLayout, TakesAFewWrappersAway) {
  std::string layout, prefix;
  for (int i = 0; i < 8; ++i) prefix += "module.";
  EXPECT_EQ(keys(to_timm_layout({{prefix + "patch_embed.proj.weight", at::zeros({1})}}, layout)),
            (std::vector<std::string>{"patch_embed.proj.weight"}));
  expect_error<std::runtime_error>(
      [&] {
        to_timm_layout({{prefix + "module.patch_embed.proj.weight", at::zeros({1})}}, layout);
      },
      {"its first tensor is '" + prefix + "module.patch_embed.proj.weight'"});
}

TEST(ToTimmLayout, TakesGooglesStackedBlocksApartAndNoOthers) {
  std::string layout;
  const TensorMap timm = to_timm_layout({{"params/embedding/kernel", at::zeros({4, 4, 3, 2})},
                                         {"params/Transformer/encoderblock/LayerNorm_0/scale", at::ones({2, 2})},
                                         {"params/Transformer/encoderblock_*/LayerNorm_0/bias", at::ones({2, 2})},
                                         {"blocks.*.norm1.bias", at::ones({1000, 0})}},
                                        layout);
  EXPECT_EQ(keys(timm),
            (std::vector<std::string>{"blocks.*.norm1.bias", "blocks.0.norm1.weight", "blocks.1.norm1.weight",
                                      "params/Transformer/encoderblock_*/LayerNorm_0/bias", "patch_embed.proj.weight"}));
}

TEST(ToTimmLayout, RefusesSeveralClassTokensWhereThereAreRegisters) {
  for (const char* name : {"cls_token", "position_embeddings"}) {
    TensorMap tensors = huggingface_layer("dinov2_with_registers.");
    tensors["dinov2_with_registers.embeddings.register_tokens"] = at::ones({1, 4, 2});
    auto& tensor = tensors.at(std::string("dinov2_with_registers.embeddings.") + name);
    tensor = at::cat({tensor, tensor});
    std::string layout;
    expect_error<std::runtime_error>([&] { to_timm_layout(tensors, layout); }, {"'pos_embed' does not fit 'cls_token'"});
  }
}

TEST(ToTimmLayout, RenamesTorchvision) {
  const std::string layer = "encoder.layers.encoder_layer_0.";
  const TensorMap tensors = {{"class_token", at::ones({1, 1, 2})},
                             {"conv_proj.weight", at::ones({2, 3, 4, 4})},
                             {"encoder.pos_embedding", at::ones({1, 5, 2})},
                             {layer + "ln_1.weight", at::ones({2})},
                             {layer + "self_attention.in_proj_weight", at::ones({6, 2})},
                             {layer + "self_attention.in_proj_bias", at::ones({6})},
                             {layer + "self_attention.out_proj.bias", at::ones({2})},
                             {layer + "mlp.0.weight", at::ones({8, 2})},
                             {layer + "mlp.linear_2.bias", at::ones({2})},
                             {"encoder.ln.bias", at::ones({2})},
                             {"heads.head.weight", at::ones({3, 2})}};
  std::string layout;
  EXPECT_EQ(keys(to_timm_layout(tensors, layout)),
            (std::vector<std::string>{"blocks.0.attn.proj.bias", "blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.weight",
                                      "blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc2.bias", "blocks.0.norm1.weight", "cls_token",
                                      "head.weight", "norm.bias", "patch_embed.proj.weight", "pos_embed"}));
  EXPECT_EQ(layout, "torchvision");
}

TEST(ToTimmLayout, RefusesSeveralModels) {
  std::string layout;
  expect_error<std::runtime_error>(
      [&] {
        to_timm_layout({{"student.patch_embed.proj.weight", at::ones({1})}, {"teacher.patch_embed.proj.weight", at::ones({1})}},
                       layout);
      },
      {"'student.' and 'teacher.'"});
}

/// A network without a family: its own names, parameters and buffers.
struct OwnNetwork : torch::nn::Module {
  OwnNetwork() {
    first = register_module("first", nn::Linear(torch::nn::LinearOptions(3, 4), std::vector<std::string>{}, at::TensorOptions()));
    head = register_module("head", torch::nn::Linear(4, 2));
    mean = register_buffer("mean", at::zeros({3}));
  }
  nn::Linear first{nullptr};
  torch::nn::Linear head{nullptr};
  at::Tensor mean;
};

TEST(LoadWeights, TakesAModuleWithoutAFamilyByItsOwnNames) {
  OwnNetwork saved, loaded;
  saved.mean.fill_(3.0);
  const Folder folder;
  const TensorMap state = plain_state(saved);
  EXPECT_EQ(keys(state), (std::vector<std::string>{"first.bias", "first.weight", "head.bias", "head.weight", "mean"}));
  TensorMap wrapped;
  for (const auto& [key, tensor] : state) wrapped["module.net." + key] = tensor;
  for (const TensorMap* tensors : std::initializer_list<const TensorMap*>{&state, &wrapped}) {
    formats::save_safetensors(folder / "f", *tensors);
    EXPECT_EQ(load_weights(loaded, folder / "f").layout, "own");
    EXPECT_TRUE(at::equal(loaded.first->weight, saved.first->weight));
    EXPECT_TRUE(at::equal(loaded.mean, saved.mean));
    EXPECT_EQ(base_sha256(loaded), base_sha256(saved));
    const at::NoGradGuard no_grad;
    loaded.first->weight.zero_();
    loaded.mean.zero_();
    EXPECT_NE(base_sha256(loaded), base_sha256(saved));
  }
  TensorMap without = state;
  without.erase("first.bias");
  expect_error<std::runtime_error>([&] { load_weights(loaded, without, "f"); }, {"f: the model needs 'first.bias'"});
  TensorMap other = state;
  other["head.weight"] = at::ones({7, 4}), other["head.bias"] = at::ones({7});
  EXPECT_EQ(load_weights(loaded, other, "f").unused, (std::vector<std::string>{"head.bias", "head.weight"}));
}

TEST(HeadClasses, AreNoneOfAHeadThatReadsNothing) {
  EXPECT_EQ(head_classes({{"head.weight", at::zeros({10'000'000, 0})}}), 0);
  EXPECT_EQ(head_classes({{"head.weight", at::zeros({3, 1})}}), 3);
}

TEST(HeadClassesOfFile, ReadsBothLayouts) {
  const Folder folder;
  formats::save_safetensors(folder / "hf", huggingface_layer("vit."));
  EXPECT_EQ(head_classes_of_file(folder / "hf"), 3);
  formats::save_safetensors(folder / "timm", plain_state(*random_model(small_config())));
  EXPECT_EQ(head_classes_of_file(folder / "timm"), 5);
  formats::save_safetensors(folder / "other", {{"a", at::ones({1})}});
  expect_error<std::runtime_error>([&] { head_classes_of_file(folder / "other"); }, {folder / "other", "'a'"});
}

TEST(BaseSha256, DependsOnTheBaseAlone) {
  const auto model = random_model(small_config(), 1);
  const std::string before = base_sha256(*model);
  EXPECT_EQ(before.size(), 64u);
  EXPECT_EQ(base_sha256(*random_model(small_config(), 1)), before);
  const at::NoGradGuard no_grad;
  attach(*model, Rlrr());
  model->head->weight.add_(1.0);
  EXPECT_EQ(base_sha256(*model), before) << "adapters and head are no part of the base";
  model->pos_embed.view(-1)[0].add_(1e-6);
  EXPECT_NE(base_sha256(*model), before);
}

}  // namespace
}  // namespace respeft::models
