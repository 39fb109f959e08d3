#include <respeft/adapters/adapter_file.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/reslora.h>
#include <respeft/methods/rlrr.h>

#include <nlohmann/json.hpp>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft::adapters {
namespace {

using nlohmann::json;
using test::expect_error;
using test::Folder;
using test::random_images;
using test::random_model;
using test::small_config;

AdapterFile trained_rlrr(models::VisionTransformerImpl& model) {
  RlrrOptions options;
  options.residual = false;
  const auto attachment = attach(model, Rlrr(options));
  AdapterFile adapter;
  adapter.info = {.method = "rlrr",
                  .model = model.name(),
                  .options = attachment->options(),
                  .weights_sha256 = std::string(64, 'a'),
                  .preprocessing = {{0.1, 0.2, 0.3}, {1, 2, 3}, 16, "bilinear"},
                  .class_names = {"a \"b\"", "ç"},
                  .pool = "token"};
  adapter.tensors = trained_state(model);
  for (auto& [key, tensor] : adapter.tensors) tensor = tensor.clone();
  return adapter;
}

TEST(AdapterFile, ANameThatIsNotUtf8IsSavedWithAReplacement) {
  const Folder folder;
  const auto model = random_model(small_config());
  AdapterFile adapter = trained_rlrr(*model);
  adapter.info.class_names = {"calf\xe9", "tea"};
  save_adapter(folder / "a.safetensors", adapter);
  const auto names = load_adapter(folder / "a.safetensors").info.class_names;
  EXPECT_EQ(names, (std::vector<std::string>{"calf\xEF\xBF\xBD", "tea"}));  // U+FFFD
}

TEST(AdapterFile, RestoresTheAdaptedModel) {
  const Folder folder;
  const auto trained = random_model(small_config(), 1);
  const AdapterFile adapter = trained_rlrr(*trained);
  save_adapter(folder / "adapter", adapter);
  const AdapterFile read = load_adapter(folder / "adapter");
  EXPECT_EQ(read.info.method, "rlrr");
  EXPECT_EQ(read.info.model, "vit_small_test");
  EXPECT_EQ(read.info.options, adapter.info.options);
  EXPECT_EQ(read.info.weights_sha256, adapter.info.weights_sha256);
  EXPECT_EQ(read.info.preprocessing, adapter.info.preprocessing);
  EXPECT_EQ(read.info.class_names, adapter.info.class_names);
  EXPECT_EQ(read.info.pool, "token");

  const auto fresh = random_model(small_config(), 1);
  fresh->reset_head(5);
  const auto attachment = attach_adapter(*fresh, read);
  EXPECT_EQ(attachment->trainable().size(), adapter.tensors.size());
  const auto images = random_images(small_config());
  EXPECT_TRUE(at::equal(test::logits(*fresh, images), test::logits(*trained, images)));
}

TEST(AdapterFile, HasTheDocumentedMetadata) {
  const Folder folder;
  const auto model = random_model(small_config());
  save_adapter(folder / "adapter", trained_rlrr(*model));
  const formats::Metadata metadata = formats::SafetensorsFile(folder / "adapter").metadata();
  EXPECT_EQ(metadata.at("format"), "respeft");
  EXPECT_EQ(metadata.at("method"), "rlrr");
  EXPECT_EQ(metadata.at("model"), "vit_small_test");
  EXPECT_EQ(metadata.at("base_sha256"), std::string(64, 'a'));
  EXPECT_EQ(json::parse(metadata.at("options")).at("residual"), false);
  EXPECT_EQ(json::parse(metadata.at("preprocessing")).at("size"), 16);
  EXPECT_EQ(json::parse(metadata.at("class_names")), json::parse(R"(["a \"b\"", "ç"])"));
  EXPECT_EQ(metadata.at("pool"), "token");
  EXPECT_EQ(metadata.size(), 8u);
}

TEST(AdapterFile, KeepsEveryKindOfOption) {
  const Folder folder;
  AdapterFile adapter;
  adapter.info.method = "lora";
  adapter.info.model = "m";
  adapter.info.options = Lora({.rank = 4, .alpha = 0.1, .dropout = 0.5, .targets = "q,v"}).options();
  save_adapter(folder / "adapter", adapter);
  EXPECT_EQ(methods::create("lora", load_adapter(folder / "adapter").info.options)->options(), adapter.info.options);
}

TEST(AttachAdapter, LeavesASiteThatTheFileLacksPlain) {
  const auto trained = random_model(small_config(), 1);
  AdapterFile adapter = trained_rlrr(*trained);
  std::erase_if(adapter.tensors, [](const auto& item) { return item.first.rfind("blocks.0.attn.qkv.adapter.", 0) == 0; });
  const auto fresh = random_model(small_config(), 1);
  const auto attachment = attach_adapter(*fresh, adapter);
  EXPECT_EQ(attachment->trainable().size(), adapter.tensors.size());
  for (const auto& [info, site] : nn::find_sites(*fresh)) {
    const bool plain = !nn::has_weight(info.kind) || info.name == "blocks.0.attn.qkv";
    EXPECT_EQ(site->adapter() == nullptr, plain) << info.name;
  }
}

TEST(AttachAdapter, KeepsTheModelsHeadWhenTheFileHasNone) {
  const auto trained = random_model(small_config(), 1), fresh = random_model(small_config(), 1);
  AdapterFile adapter = trained_rlrr(*trained);
  std::erase_if(adapter.tensors, [](const auto& item) { return item.first.rfind("head.", 0) == 0; });
  const auto head = fresh->head->weight.clone();
  attach_adapter(*fresh, adapter);
  EXPECT_TRUE(at::equal(fresh->head->weight, head));
}

TEST(AttachAdapter, RefusesWhatDoesNotFitAndLeavesThePlainModel) {
  const auto trained = random_model(small_config(), 1), fresh = random_model(small_config(), 1);
  const AdapterFile good = trained_rlrr(*trained);
  const std::string key = "blocks.1.mlp.fc1.adapter.scale_in";
  const std::vector<std::pair<std::function<void(TensorMap&)>, std::string>> damages = {
      {[&](TensorMap& tensors) { tensors.erase(key); }, "'" + key + "' is missing"},
      {[&](TensorMap& tensors) { tensors.erase("head.bias"); }, "'head.bias' is missing"},
      {[&](TensorMap& tensors) { tensors[key] = at::ones({31}); }, "'" + key + "' has shape [31]; the model takes [32]"},
      {[&](TensorMap& tensors) { tensors[key] = at::ones({32}, at::kInt); }, "'" + key + "' holds Int"},
      {[&](TensorMap& tensors) { tensors["blocks.2.norm1.adapter.scale"] = at::ones({32}); },
       "no place for 'blocks.2.norm1.adapter.scale'"},
      {[&](TensorMap& tensors) {
         tensors["head.weight"] = at::ones({6, 32});
       },
       "'head.weight' has shape [6, 32]"},
      {[&](TensorMap& tensors) {
         tensors["pos_embed"] = at::ones({1, 17, 32});
       },
       "no place for 'pos_embed'"},
  };
  const auto images = random_images(small_config());
  const auto before = test::logits(*fresh, images);
  for (const auto& [damage, fault] : damages) {
    SCOPED_TRACE(fault);
    AdapterFile adapter = good;
    damage(adapter.tensors);
    expect_error<std::runtime_error>([&] { attach_adapter(*fresh, adapter); }, {fault});
    EXPECT_TRUE(at::equal(test::logits(*fresh, images), before));
  }
}

/// LoRA or one of its kin on the small model, with every trained tensor random.
AdapterFile randomized(models::VisionTransformerImpl& model, Method& method) {
  const auto attachment = attach(model, method);
  AdapterFile adapter;
  adapter.info.method = method.name();
  adapter.info.options = method.options();
  const at::NoGradGuard no_grad;
  for (const auto& [key, tensor] : attachment->trainable())
    adapter.tensors[key] = at::Tensor(tensor).normal_(0.0, 0.3).detach().clone();
  return adapter;
}

/// A rank stands in a file's options in ten digits; what it would take must not be taken.
TEST(AttachAdapter, ComparesTheRankWithTheTensorsFirst) {
  for (const auto& method : {"lora", "loha", "reslora-ms"}) {
    SCOPED_TRACE(method);
    const auto model = random_model(small_config(), 1), fresh = random_model(small_config(), 1);
    const auto created = methods::create(method, {{"rank", int64_t{2}}, {"targets", std::string("fc1")}});
    AdapterFile adapter = randomized(*model, *created);
    for (const int64_t rank : {int64_t{1'000'000'000'000}, int64_t{1} << 61}) {
      adapter.info.options["rank"] = rank;
      expect_error<std::runtime_error>([&] { attach_adapter(*fresh, adapter); }, {"adapter: 'blocks.0.mlp.fc1"});
    }
    std::erase_if(adapter.tensors, [](const auto& item) { return item.first.find(".adapter.") != std::string::npos; });
    adapter.info.options["rank"] = int64_t{1'000'000'000'000};
    EXPECT_NO_THROW(attach_adapter(*fresh, adapter));
    for (const auto& [info, site] : nn::find_sites(*fresh)) EXPECT_FALSE(site->adapter()) << info.name;
  }
}

TEST(AttachAdapter, ASiteThatTheFileLacksEndsAChainOfResLora) {
  auto config = small_config();
  config.depth = 4;
  for (const Shortcut shortcut : {Shortcut::Input, Shortcut::Block, Shortcut::Middle}) {
    const auto whole = random_model(config, 1), gap = random_model(config, 1);
    ResLora everywhere(shortcut, {.rank = 2, .targets = "fc1"}),
        apart(shortcut, {.rank = 2, .targets = "fc1", .blocks = "0,2-3"});
    AdapterFile adapter = randomized(*whole, everywhere);
    std::erase_if(adapter.tensors, [](const auto& item) { return item.first.starts_with("blocks.1."); });
    const auto fresh = random_model(config, 1);
    attach_adapter(*fresh, adapter);
    adapter.info.options = apart.options();
    attach_adapter(*gap, adapter);
    const auto images = random_images(config);
    EXPECT_TRUE(at::equal(test::logits(*fresh, images), test::logits(*gap, images)));
  }
}

TEST(LoadAdapter, RefusesAFileWithoutMetadataUnlessToldTheMethod) {
  const Folder folder;
  formats::save_safetensors(folder / "bare", {{"norm.adapter.scale", at::ones({2})}}, {{"format", "pt"}});
  expect_error<std::runtime_error>([&] { load_adapter(folder / "bare"); }, {folder / "bare", "no metadata"});
  const AdapterFile adapter = load_adapter(folder / "bare", "rlrr", {{"residual", false}});
  EXPECT_EQ(adapter.info.method, "rlrr");
  EXPECT_EQ(adapter.info.options, (Options{{"residual", false}}));
  EXPECT_EQ(adapter.tensors.size(), 1u);
}

TEST(LoadAdapter, RefusesAnotherMethodThanTheFiles) {
  const Folder folder;
  save_adapter(folder / "adapter", trained_rlrr(*random_model(small_config())));
  EXPECT_NO_THROW(load_adapter(folder / "adapter", "rlrr"));
  expect_error<std::invalid_argument>([&] { load_adapter(folder / "adapter", "lora"); }, {"'rlrr'", "'lora'"});
}

TEST(LoadAdapter, RefusesBrokenMetadata) {
  const Folder folder;
  save_adapter(folder / "good", trained_rlrr(*random_model(small_config())));
  const formats::Metadata good = formats::SafetensorsFile(folder / "good").metadata();
  const std::vector<std::tuple<std::string, std::string, std::string>> cases = {
      {"method", "rlr", "did you mean 'rlrr'?"},
      {"options", "{", "'options' is not a JSON object"},
      {"options", "{\"a\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}", "'options': it is nested too deeply"},
      {"class_names", std::string(100'000, '[') + std::string(100'000, ']'), "'class_names': it is nested too deeply"},
      {"options", R"({"residual": [1]})", "'options': 'residual' is [1]"},
      {"options", R"({"residul": true})", "residul"},
      {"options", R"({"residual": 3})", "residual"},
      {"preprocessing", "{}", "preprocessing: 'mean' is missing"},
      {"class_names", "3", "'class_names' is not a JSON list of names"},
      {"class_names", "[3]", "'class_names' is not a JSON list of names"},
  };
  for (const auto& [key, value, fault] : cases) {
    SCOPED_TRACE(value);
    formats::Metadata metadata = good;
    metadata[key] = value;
    formats::save_safetensors(folder / "bad", {}, metadata);
    expect_error<std::runtime_error>([&] { load_adapter(folder / "bad"); }, {folder / "bad", fault});
  }
  for (const char* key : {"method", "model", "preprocessing"}) {
    formats::Metadata metadata = good;
    metadata.erase(key);
    formats::save_safetensors(folder / "bad", {}, metadata);
    expect_error<std::runtime_error>([&] { load_adapter(folder / "bad"); }, {folder / "bad", key, "missing"});
  }
}

}  // namespace
}  // namespace respeft::adapters
