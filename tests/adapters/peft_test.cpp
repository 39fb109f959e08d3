#include <respeft/adapters/peft.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/formats/file.h>
#include <respeft/methods/lora.h>

#include <nlohmann/json.hpp>

#include "src/adapters/peft_config.h"
#include "tests/expect_error.h"
#include "tests/file_size_limit.h"
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

const std::string kKey = "base_model.model.blocks.0.attn.qkv.lora_A.weight";

/// An adapter as PEFT writes it for the small test model: LoRA of rank 2 on every qkv, and a head.
struct PeftFolder {
  Folder folder;
  json config = {{"peft_type", "LORA"}, {"r", 2},
                 {"lora_alpha", 4},     {"target_modules", {"qkv"}},
                 {"bias", "none"},      {"modules_to_save", {"head"}},
                 {"use_dora", false},   {"revision", nullptr}};
  TensorMap tensors;

  PeftFolder() {
    at::manual_seed(5);
    for (const int block : {0, 1}) {
      const std::string site = "base_model.model.blocks." + std::to_string(block) + ".attn.qkv.";
      tensors[site + "lora_A.weight"] = at::randn({2, 32});
      tensors[site + "lora_B.weight"] = at::randn({96, 2});
    }
    tensors["base_model.model.head.weight"] = at::randn({5, 32});
    tensors["base_model.model.head.bias"] = at::randn({5});
  }
  std::string write() const {
    folder.write("adapter_config.json", config.dump());
    formats::save_safetensors(folder / "adapter_model.safetensors", tensors, {{"format", "pt"}});
    return folder.path();
  }
  AdapterFile load() const { return load_adapter(write()); }
};

/// The weight that the adapter's update makes of one of zeros.
at::Tensor update_of(const AdapterFile& adapter, const std::string& site) {
  const auto model = random_model(small_config());
  attach_adapter(*model, adapter);
  for (const auto& found : nn::find_sites(*model)) {
    if (found.info.name != site) continue;
    return found.site->adapter()->fold(at::zeros_like(found.layer()->weight), {}).value().weight;
  }
  throw std::logic_error("no site " + site);
}

TEST(PeftAdapter, ReadsLoraAndHead) {
  const PeftFolder peft;
  const AdapterFile adapter = peft.load();
  EXPECT_EQ(adapter.info.method, "lora");
  EXPECT_EQ(adapter.info.model, "");
  EXPECT_EQ(std::get<int64_t>(adapter.info.options.at("rank")), 2);
  EXPECT_EQ(std::get<double>(adapter.info.options.at("alpha")), 4.0);
  EXPECT_EQ(std::get<std::string>(adapter.info.options.at("targets")), "qkv");
  EXPECT_TRUE(at::equal(adapter.tensors.at("blocks.0.attn.qkv.adapter.lora_A"), peft.tensors.at(kKey)));
  EXPECT_TRUE(at::equal(adapter.tensors.at("head.bias"), peft.tensors.at("base_model.model.head.bias")));
  EXPECT_EQ(adapter.tensors.size(), 6u);
  EXPECT_TRUE(at::equal(load_adapter(peft.folder / "adapter_model.safetensors").tensors.at("head.weight"),
                        adapter.tensors.at("head.weight")));
}

TEST(PeftAdapter, UpdatesOfOtherRanksAndScalesStayWhatTheyAre) {
  PeftFolder peft;
  peft.tensors["base_model.model.blocks.1.attn.qkv.lora_A.weight"] = at::randn({5, 32});
  peft.tensors["base_model.model.blocks.1.attn.qkv.lora_B.weight"] = at::randn({96, 5});
  peft.config["rank_pattern"] = {{"blocks.1.attn.qkv", 5}};
  peft.config["alpha_pattern"] = {{"1.attn.qkv", 3}};
  for (const bool stabilized : {false, true}) {
    peft.config["use_rslora"] = stabilized;
    const AdapterFile adapter = peft.load();
    for (const auto& [block, rank, alpha] : {std::tuple(0, 2.0, 4.0), std::tuple(1, 5.0, 3.0)}) {
      const std::string site = "blocks." + std::to_string(block) + ".attn.qkv";
      const auto product = peft.tensors.at("base_model.model." + site + ".lora_B.weight")
                               .mm(peft.tensors.at("base_model.model." + site + ".lora_A.weight"));
      const auto expected = product * (alpha / (stabilized ? std::sqrt(rank) : rank));  // as PEFT documents its scaling
      EXPECT_TRUE(at::allclose(update_of(adapter, site), expected, 1e-5, 1e-5)) << site;
    }
  }
}

/// A key's first match counts, in the order of the file.
TEST(PeftAdapter, PatternsAreThoseOfPefts) {
  const auto alpha = [](const std::string& patterns, const std::string& module) {
    const std::string config = R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": )" + patterns + "}";
    return peft_config_from_json(config).alpha_of(module);
  };
  const std::string both = R"({"z.*\\.qkv|blocks\\.(0|11)\\.attn\\.qkv": 3, "attn\\..*": 5})";
  EXPECT_EQ(alpha(both, "blocks.0.attn.qkv"), 3.0);
  EXPECT_EQ(alpha(both, "blocks.11.attn.qkv"), 3.0);
  EXPECT_EQ(alpha(both, "blocks.1.attn.qkv"), 5.0);
  EXPECT_EQ(alpha(both, "blocks.1.mlp.fc1"), 4.0);
  EXPECT_EQ(alpha(R"({"b": 1, "a|b": 2})", "x.b"), 1.0);
  EXPECT_EQ(alpha(R"({"a|b": 2, "b": 1})", "x.b"), 2.0);
}

TEST(PeftAdapter, RanksOfPatternsAreCompared) {
  PeftFolder peft;
  peft.tensors["base_model.model.blocks.1.attn.qkv.lora_A.weight"] = at::randn({5, 32});
  peft.tensors["base_model.model.blocks.1.attn.qkv.lora_B.weight"] = at::randn({96, 5});
  peft.config["rank_pattern"] = {{R"(.*\.[1-9]\.attn\.(qkv|proj))", 5}};
  EXPECT_EQ(std::get<int64_t>(peft.load().info.options.at("rank")), 5);
  peft.config["rank_pattern"] = {{R"(.*\.[1-9]\.attn\.(qkv|proj))", 6}};
  expect_error<std::runtime_error>([&] { peft.load(); }, {"blocks.1.attn.qkv", "rank 5", "says 6"});
}

TEST(PeftAdapter, APatternWithAnAnchorIsAWholeName) {
  const auto alpha = [](const json& patterns) {
    const json config = {{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"alpha_pattern", patterns}};
    return peft_config_from_json(config.dump()).alpha_of("blocks.0.attn.qkv");
  };
  EXPECT_EQ(alpha({{"attn.qkv", 3}}), 3.0);
  EXPECT_EQ(alpha({{"^attn.qkv", 3}}), 4.0);
  EXPECT_EQ(alpha({{R"(^blocks\.0\.attn\.qkv$)", 3}}), 3.0);
  EXPECT_EQ(alpha({{"attn.qkv", 3}, {"attn.qkv$", 3}}), 3.0);
  EXPECT_EQ(alpha({{"0.attn.qkv", 1}, {"0.attn.qkv$", 2}}), 1.0);
}

// --------------------------------------------------------------------------------------------------------------- AdaLoRA

/// As PEFT writes it: no ".weight", and the tensors of the ranks that pruning left. The ranks are of blocks 0 and 1.
struct AdaLoraFolder : PeftFolder {
  AdaLoraFolder(int64_t first, int64_t second, int64_t target) {
    std::erase_if(tensors, [](const auto& entry) { return entry.first.find("lora") != std::string::npos; });
    config = {{"peft_type", "ADALORA"},
              {"r", 8},
              {"init_r", 6},
              {"target_r", target},
              {"lora_alpha", 9},
              {"beta1", 0.85},
              {"orth_reg_weight", 0.5},
              {"tinit", 2},
              {"tfinal", 2},
              {"deltaT", 1},
              {"total_step", 10},
              {"modules_to_save", {"head"}},
              {"rank_pattern", {{"blocks.0.attn.qkv.lora_E", {true, false}}}}};
    for (const auto& [block, rank] : {std::pair("0", first), std::pair("1", second)}) {
      const std::string site = std::string("base_model.model.blocks.") + block + ".attn.qkv.";
      tensors[site + "lora_A"] = at::randn({rank, 32});
      tensors[site + "lora_E"] = at::randn({rank, 1});
      tensors[site + "lora_B"] = at::randn({96, rank});
    }
  }
};

/// PEFT's update of a block: B diag(E) A · alpha / (init_r + 1e-5).
at::Tensor adalora_update(const PeftFolder& peft, const std::string& site) {
  const auto factor = [&](const char* name) { return peft.tensors.at("base_model.model." + site + "." + name); };
  return factor("lora_B").mm(factor("lora_A") * factor("lora_E")) * (9 / (6 + 1e-5));
}

TEST(PeftAdaLora, IsLoraWithRanksThatAreAllocated) {
  const AdaLoraFolder peft(5, 2, 3);
  const AdapterFile adapter = peft.load();
  EXPECT_EQ(adapter.info.method, "lora");
  EXPECT_EQ(std::get<int64_t>(adapter.info.options.at("rank")), 5);
  EXPECT_EQ(std::get<int64_t>(adapter.info.options.at("target_rank")), 3);
  EXPECT_EQ(adapter.tensors.at("blocks.1.attn.qkv.adapter.lora_E").sizes(), at::IntArrayRef({5, 1}));
  for (const std::string site : {"blocks.0.attn.qkv", "blocks.1.attn.qkv"})
    EXPECT_TRUE(at::allclose(update_of(adapter, site), adalora_update(peft, site), 1e-5, 1e-5)) << site;
}

TEST(PeftAdaLora, IsPlainLoraOnceNothingIsLeftToPrune) {
  const AdaLoraFolder peft(3, 3, 3);
  const AdapterFile adapter = peft.load();
  EXPECT_EQ(adapter.info.options.count("target_rank"), 0u);
  EXPECT_EQ(adapter.tensors.count("blocks.1.attn.qkv.adapter.lora_E"), 0u);
  for (const std::string site : {"blocks.0.attn.qkv", "blocks.1.attn.qkv"})
    EXPECT_TRUE(at::allclose(update_of(adapter, site), adalora_update(peft, site), 1e-5, 1e-5)) << site;
}

TEST(PeftAdaLora, ALayerOfRankZeroHasNoAdapter) {
  const AdaLoraFolder peft(4, 0, 3);
  const AdapterFile adapter = peft.load();
  EXPECT_EQ(adapter.tensors.count("blocks.1.attn.qkv.adapter.lora_A"), 0u);
  EXPECT_TRUE(at::allclose(update_of(adapter, "blocks.0.attn.qkv"), adalora_update(peft, "blocks.0.attn.qkv"), 1e-5, 1e-5));
  expect_error<std::runtime_error>([] { AdaLoraFolder(0, 0, 3).load(); }, {"rank of every update is 0"});
}

// ------------------------------------------------------------------------------------------------------- adapters' names

/// The tensors as a PeftModel's own state dict has them, where every key names the adapter.
void name_adapter(PeftFolder& peft, const std::string& name) {
  TensorMap named;
  for (const auto& [key, tensor] : peft.tensors) {
    const size_t dot = key.rfind('.'), head = key.find(".head.");
    if (head == std::string::npos) {
      named[key.substr(0, dot) + "." + name + key.substr(dot)] = tensor;
    } else {
      named[key.substr(0, dot) + ".modules_to_save." + name + key.substr(dot)] = tensor;
      named[key.substr(0, dot) + ".original_module" + key.substr(dot)] = at::zeros_like(tensor);
    }
  }
  peft.tensors = named;
}

TEST(PeftAdapterNames, AreReadOutOfTheKeys) {
  const AdapterFile expected = PeftFolder().load();
  for (const std::string name : {"default", "pets", "lora_A"}) {
    PeftFolder peft;
    name_adapter(peft, name);
    const AdapterFile adapter = peft.load();
    ASSERT_EQ(adapter.tensors.size(), expected.tensors.size()) << name;
    for (const auto& [key, tensor] : expected.tensors) EXPECT_TRUE(at::equal(adapter.tensors.at(key), tensor)) << key;
  }
}

TEST(PeftAdapterNames, AFolderOfOneNamedAdapterIsThatAdapter) {
  const PeftFolder peft;
  const Folder folder;
  std::filesystem::rename(peft.write(), folder / "pets");
  EXPECT_TRUE(is_peft_adapter(folder.path()));
  EXPECT_EQ(peft_files(folder.path()).tensors, folder / "pets/adapter_model.safetensors");
  EXPECT_EQ(load_adapter(folder.path()).tensors.size(), 6u);
  std::filesystem::copy(folder / "pets", folder / "birds");
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {folder.path(), "several adapters", "birds, pets"});
  EXPECT_EQ(load_adapter(folder / "birds").tensors.size(), 6u);
}

TEST(PeftAdapter, WritesWhatItReads) {
  for (const std::string targets : {"q,v,fc1", "qkv,proj", "v"}) {
    const Folder folder;
    const auto model = random_model(small_config());
    Lora lora({.rank = 3, .alpha = 7, .dropout = 0.25, .targets = targets});
    const auto attachment = attach(*model, lora);
    for (const auto& [name, tensor] : attachment->trainable()) {
      const at::NoGradGuard no_grad;
      at::Tensor(tensor).normal_(0.0, 0.3);
    }
    const AdapterInfo info = {.method = "lora",
                              .model = "vit_small_test",
                              .options = lora.options(),
                              .weights_sha256 = std::string(64, 'a'),
                              .preprocessing = {{0.1, 0.2, 0.3}, {1, 2, 3}, 16, "bilinear"},
                              .class_names = {"a", "b", "c", "d", "e"},
                              .pool = "token"};
    model->eval();
    const auto images = random_images(small_config());
    const auto expected = test::logits(*model, images);
    for (const std::string base : {"timm", "vit", "dinov2"}) {
      SCOPED_TRACE(targets + " " + base);
      save_peft_adapter(folder / base, {info, trained_state(*model)}, base);
      const AdapterFile read = load_adapter(folder / base);
      EXPECT_EQ(read.info.model, info.model);
      EXPECT_EQ(read.info.weights_sha256, info.weights_sha256);
      EXPECT_EQ(read.info.preprocessing, info.preprocessing);
      EXPECT_EQ(read.info.class_names, info.class_names);
      EXPECT_EQ(read.info.pool, info.pool);
      EXPECT_EQ(std::get<double>(read.info.options.at("dropout")), 0.25);
      const auto fresh = random_model(small_config());
      fresh->reset_head(5);
      attach_adapter(*fresh, read);
      fresh->eval();
      EXPECT_TRUE(at::allclose(test::logits(*fresh, images), expected, 1e-4, 1e-5));
    }
  }
}

TEST(PeftAdapter, RefusesToWriteWhatPeftLacks) {
  const Folder folder;
  AdapterFile adapter;
  adapter.info.method = "rlrr";
  expect_error<std::invalid_argument>([&] { save_peft_adapter(folder / "out", adapter); }, {"no method like rlrr", "lora"});
  adapter.info.method = "lora";
  expect_error<std::invalid_argument>([&] { save_peft_adapter(folder / "out", adapter); }, {"no update"});
  expect_error<std::invalid_argument>([&] { save_peft_adapter(folder / "out", adapter, "vitt"); }, {"did you mean 'vit'?"});
  adapter.tensors = load_adapter(PeftFolder().write()).tensors;
  adapter.tensors["norm.weight"] = at::ones({32});
  expect_error<std::invalid_argument>([&] { save_peft_adapter(folder / "out", adapter); }, {"'norm.weight'", "no place"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(PeftAdapter, AFolderThatCannotBeFinishedIsNotThere) {
  const PeftFolder peft;
  AdapterFile adapter = peft.load();
  const Folder folder;
  const test::FileSizeLimit limit(1500);  // the configuration fits, the tensors do not
  expect_error<std::runtime_error>([&] { save_peft_adapter(folder / "out", adapter); },
                                   {folder / "out/adapter_model.safetensors", "File too large"});
  EXPECT_TRUE(folder.names().empty());
}

struct Damage {
  std::string name;
  std::function<void(PeftFolder&)> change;
  std::vector<std::string> words;
};

std::vector<Damage> damages() {
  const auto set = [](const std::string& key, const json& value) { return [=](PeftFolder& peft) { peft.config[key] = value; }; };
  const auto put = [](const std::string& key, const at::Tensor& tensor) {
    return [=](PeftFolder& peft) { peft.tensors[key] = tensor; };
  };
  const std::string file = "adapter_model.safetensors", base = "base_model.model.";
  return {
      {"no type", [](PeftFolder& peft) { peft.config.erase("peft_type"); }, {"adapter_config.json", "'peft_type'", "missing"}},
      {"list", [](PeftFolder& peft) { peft.config = json::array({1}); }, {"adapter_config.json", "not a JSON object"}},
      {"infinite alpha", set("lora_alpha", "Infinity"), {"'lora_alpha'", "expected a number"}},
      {"huge rank", set("r", 1e300), {"'r'", "whole number"}},
      {"negative rank", set("r", -3), {"'r'", "at least 1"}},
      {"saved", set("modules_to_save", {1}), {"'modules_to_save'", "names"}},
      {"flag", set("use_rslora", 3), {"'use_rslora'", "true or false"}},
      {"dropout", set("lora_dropout", 1.5), {file, "dropout"}},
      {"deep",
       [](PeftFolder& peft) {
         json value = 1;
         for (int i = 0; i < 40; ++i) value = json::array({value});
         peft.config["revision"] = value;
       },
       {"adapter_config.json", "nested too deeply"}},
      {"pattern of Python's own", set("alpha_pattern", {{"(?P<x>a)", 1}}), {"'alpha_pattern'", "'(?P<x>a)'", "not understood"}},
      {"broken pattern", set("rank_pattern", {{"(qkv", 1}}), {"'rank_pattern'", "'(qkv'", "no regular expression"}},
      {"pattern's value", set("rank_pattern", {{"qkv", "many"}}), {"'rank_pattern'", "whole number"}},
      {"AdaLoRA without an alpha",
       [](PeftFolder& peft) { peft.config["peft_type"] = "ADALORA", peft.config["lora_alpha"] = 0; },
       {"'lora_alpha'", "AdaLoRA"}},
      {"two adapters",
       [](PeftFolder& peft) {
         peft.tensors[kKey.substr(0, kKey.size() - 6) + "other.weight"] = at::zeros({2, 32});
       },
       {file, "adapters", "'other'"}},
      {"other rank", set("r", 3), {file, "blocks.0.attn.qkv", "rank 2", "says 3"}},
      {"no prefix", put("blocks.0.attn.qkv.lora_A.weight", at::zeros({2, 32})), {file, "does not begin with"}},
      {"vector", put(kKey, at::zeros({2})), {file, kKey, "is a matrix"}},
      {"empty", put(kKey, at::zeros({0, 32})), {file, kKey, "is a matrix"}},
      {"whole numbers", put(kKey, at::zeros({2, 32}, at::kLong)), {file, kKey, "floating-point"}},
      {"ranks differ", put(kKey, at::zeros({3, 32})), {file, "blocks.0.attn.qkv", "lora_A has rank 3", "lora_B has rank 2"}},
      {"no B",
       [=](PeftFolder& peft) { peft.tensors.erase(base + "blocks.1.attn.qkv.lora_B.weight"); },
       {file, "blocks.1.attn.qkv", "no lora_B"}},
      {"no layer", put(base + "blocks.0.attn.lora_A.weight", at::zeros({2, 32})), {file, "no linear layer"}},
      {"no block", put(base + "blocks..attn.qkv.lora_A.weight", at::zeros({2, 32})), {file, "no linear layer"}},
      {"same layer",
       put(base + "layers.0.attention.q_proj.lora_A.weight", at::zeros({2, 32})),
       {file, "layers.0.attention.q_proj", "no lora_B"}},
      {"DoRA", put(base + "blocks.0.attn.qkv.lora_magnitude_vector", at::zeros({96})), {file, "lora_magnitude_vector"}},
      {"other module", put(base + "norm.weight", at::zeros({32})), {file, "norm.weight", "modules_to_save"}},
      {"odd head", put(base + "head.scale", at::zeros({32})), {file, "head.scale"}},
      {"nothing",
       [](PeftFolder& peft) { std::erase_if(peft.tensors, [](auto& t) { return t.first.find("lora") != std::string::npos; }); },
       {file, "no adapter of a linear layer"}},
  };
}

TEST(PeftAdapter, RefusesDamagedFilesByName) {
  for (const auto& [name, change, words] : damages()) {
    SCOPED_TRACE(name);
    PeftFolder peft;
    change(peft);
    auto parts = words;
    parts.push_back(peft.folder.path());
    expect_error<std::runtime_error>([&] { peft.load(); }, parts);
  }
}

TEST(PeftAdapter, RefusesTheSameLayerInTwoSpellings) {
  PeftFolder peft;
  for (const std::string module : {"layers.0.attention.q_proj", "encoder.layer.0.attention.attention.query"}) {
    peft.tensors["base_model.model." + module + ".lora_A.weight"] = at::zeros({2, 32});
    peft.tensors["base_model.model." + module + ".lora_B.weight"] = at::zeros({32, 2});
  }
  expect_error<std::runtime_error>([&] { peft.load(); }, {"is the same layer"});
}

TEST(PeftAdapter, RefusesRanksThatWouldTakeMemoryWithoutEnd) {
  PeftFolder peft;
  peft.config["r"] = 1;
  peft.config["rank_pattern"] = {{"blocks.0.attn.qkv", 4000}};
  peft.tensors.clear();
  for (int block = 0; block < 2000; ++block) {
    const int64_t rank = block == 0 ? 4000 : 1, in = block == 0 ? 1 : 64;
    const std::string site = "base_model.model.blocks." + std::to_string(block) + ".attn.qkv.";
    peft.tensors[site + "lora_A.weight"] = at::zeros({rank, in});
    peft.tensors[site + "lora_B.weight"] = at::zeros({in, rank});
  }
  expect_error<std::runtime_error>([&] { peft.load(); }, {"adapter_model.safetensors", "times the file's size"});
}

/// Zeros for projections that another layer adapts count too.
TEST(PeftAdapter, RefusesZerosThatWouldTakeMemoryWithoutEnd) {
  PeftFolder peft;
  peft.config["r"] = 8;
  peft.config["rank_pattern"] = {{"layers.0.attention..*", 400}};
  peft.tensors.clear();
  for (int block = 0; block < 200; ++block) {
    for (const std::string& part : block == 0 ? std::vector<std::string>{"q", "k", "v"} : std::vector<std::string>{"q"}) {
      const int64_t rank = block == 0 ? 400 : 8;
      const std::string module = "base_model.model.layers." + std::to_string(block) + ".attention." + part + "_proj.";
      peft.tensors[module + "lora_A.weight"] = at::zeros({rank, 64});
      peft.tensors[module + "lora_B.weight"] = at::zeros({64, rank});
    }
  }
  expect_error<std::runtime_error>([&] { peft.load(); }, {"adapter_model.safetensors", "times the file's size"});
}

/// Factors that are thin and as long as the file allows become large where a layer is wide.
TEST(PeftAdapter, ComparesFactorsWithTheLayerFirst) {
  PeftFolder peft;
  peft.config["r"] = 1'000'000;
  const std::string site = "base_model.model.blocks.0.attn.qkv.";
  peft.tensors = {{site + "lora_A.weight", at::zeros({1'000'000, 1})}, {site + "lora_B.weight", at::zeros({1, 1'000'000})}};
  const AdapterFile adapter = peft.load();
  const auto model = random_model(small_config());
  expect_error<std::runtime_error>([&] { attach_adapter(*model, adapter); },
                                   {"'blocks.0.attn.qkv.adapter.lora_A' has shape [1000000, 1]", "takes [1000000, 32]"});
}

TEST(PeftAdapter, RefusesWhatDoesNotFitTheModel) {
  PeftFolder peft;
  for (const std::string kind : {"A", "B"}) {
    auto node = peft.tensors.extract("base_model.model.blocks.1.attn.qkv.lora_" + kind + ".weight");
    node.key() = "base_model.model.blocks.7.attn.qkv.lora_" + kind + ".weight";
    peft.tensors.insert(std::move(node));
  }
  const AdapterFile adapter = peft.load();
  const auto model = random_model(small_config());
  expect_error<std::runtime_error>([&] { attach_adapter(*model, adapter); }, {"no place for 'blocks.7.attn.qkv.adapter.lora_A'"});
  EXPECT_FALSE(model->blocks[0]->attn->qkv->adapter());
}

TEST(PeftAdapter, SaysWhatAFolderLacks) {
  const Folder folder;
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {folder.path(), "no adapter_config.json"});
  folder.write("adapter.safetensors", "");
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {"its adapter.safetensors"});
  folder.write("adapter_config.json", "{");
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {folder.path(), "no adapter_model.safetensors"});
  folder.write("adapter_model.bin", "no such file");
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {"/adapter_model.bin: "});
  formats::save_safetensors(folder / "adapter_model.safetensors", {});
  expect_error<std::runtime_error>([&] { load_adapter(folder.path()); }, {"adapter_config.json", "not a JSON object"});
  PeftFolder peft;
  expect_error<std::invalid_argument>([&] { load_adapter(peft.write(), "loha"); }, {"'lora', not 'loha'"});
}

/// A file whose every byte was changed once is read or refused, and nothing else.
TEST(PeftAdapter, SurvivesEveryChangedByteOfItsConfiguration) {
  PeftFolder peft;
  const std::string path = peft.write(), good = formats::read_file(peft.folder / "adapter_config.json");
  size_t refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char byte : {'\0', '"', '9', '{', '\xff'}) {
      std::string changed = good;
      changed[i] = byte;
      try {
        peft_config_from_json(changed);
      } catch (const std::runtime_error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, good.size());
  EXPECT_NO_THROW(load_adapter(path));
}

}  // namespace
}  // namespace respeft::adapters
