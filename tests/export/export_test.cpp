#include <respeft/export/export.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/formats/safetensors.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/rlrr.h>
#include <respeft/models/weights.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <filesystem>
#include <set>

#include "tests/expect_error.h"
#include "tests/file_size_limit.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft {
namespace {

using test::expect_error;
using test::Folder;
using test::random_images;
using test::random_model;
using test::small_config;

struct Variant {
  std::string name;
  models::VitConfig config;
};

std::vector<Variant> variants() {
  auto mean_pooling = small_config();
  mean_pooling.mean_pooling = true;
  auto registers = small_config();
  registers.register_tokens = 4;
  registers.position_for_prefix = false;
  registers.layer_scale = 1e-5;
  auto registers_mean = registers;
  registers_mean.mean_pooling = true;
  auto headless = small_config();
  headless.num_classes = 0;
  auto no_class_token = mean_pooling;
  no_class_token.class_token = false;
  return {{"class token", small_config()},
          {"mean pooling", mean_pooling},
          {"registers", registers},
          {"no head", headless},
          {"registers, mean pooling", registers_mean},
          {"no class token", no_class_token}};
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(ExportTorchScript, ComputesWhatTheModelDoesAtAnyBatchSize) {
  const Folder folder;
  for (const auto& [name, config] : variants()) {
    SCOPED_TRACE(name);
    const auto model = random_model(config);
    export_torchscript(*model, folder / "model.pt");
    auto module = torch::jit::load(folder / "model.pt");
    for (const int64_t batch : {1, 3}) {
      const auto images = random_images(config, batch);
      const auto expected = test::logits(*model, images);
      const auto found = module.forward({images}).toTensor();
      ASSERT_EQ(found.sizes(), expected.sizes());
      EXPECT_LT(largest_difference(found, expected), 1e-5 * expected.abs().max().item<double>());
      EXPECT_FALSE(found.requires_grad());
    }
  }
}

TEST(ExportTorchScript, HasTimmsKeysAndTheModelsTensors) {
  const Folder folder;
  const auto model = random_model(small_config());
  export_torchscript(*model, folder / "model.pt");
  TensorMap found;
  for (const auto& item : torch::jit::load(folder / "model.pt").named_parameters()) found[item.name] = item.value;
  const TensorMap expected = models::plain_state(*model);
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [key, tensor] : expected) {
    ASSERT_TRUE(found.count(key)) << key;
    EXPECT_TRUE(at::equal(found.at(key), tensor)) << key;
  }
}

void collect_operators(const torch::jit::Block* block, std::set<std::string>& names) {
  for (const auto* node : block->nodes()) {
    names.insert(node->kind().ns().toUnqualString());
    for (const auto* inner : node->blocks()) collect_operators(inner, names);
  }
}

TEST(ExportTorchScript, UsesOnlyOperatorsThatEveryLibTorchHas) {
  const Folder folder;
  const auto model = random_model(small_config());
  export_torchscript(*model, folder / "model.pt");
  const auto module = torch::jit::load(folder / "model.pt");
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  std::set<std::string> namespaces;
  collect_operators(graph->block(), namespaces);
  EXPECT_EQ(namespaces, (std::set<std::string>{"aten", "prim"}));
}

TEST(ExportTorchScript, CarriesPreprocessingAndClassNames) {
  const Folder folder;
  const auto model = random_model(small_config());
  const ExportInfo info = {{{0.1, 0.2, 0.3}, {1, 2, 3}, 16, "bilinear"}, {"a", "b", "c", "d", "\"e\""}};
  export_torchscript(*model, folder / "model.pt", info);
  torch::jit::ExtraFilesMap extra = {{"preprocessing.json", ""}, {"class_names.json", ""}};
  torch::jit::load(folder / "model.pt", std::nullopt, extra);
  EXPECT_EQ(data::preprocessing_from_json(extra.at("preprocessing.json")), info.preprocessing);
  EXPECT_EQ(extra.at("class_names.json"), R"(["a","b","c","d","\"e\""])");
}

TEST(ExportTorchScript, RefusesImagesOfAnotherSize) {
  const Folder folder;
  const auto model = random_model(small_config());
  export_torchscript(*model, folder / "model.pt");
  auto module = torch::jit::load(folder / "model.pt");
  expect_error<std::exception>([&] { module.forward({at::zeros({1, 3, 18, 18})}); }, {"expected images [B, 3, 16, 16]"});
}

std::shared_ptr<models::Model> merged_model(const std::string& pool) {
  const auto model = models::create("vit_tiny_patch16_224", {.num_classes = 3, .image_size = 32, .pool = pool});
  model->eval();
  const at::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(at::randn_like(parameter), 0.02);
  attach(*model, Rlrr());
  merge(*model);
  return model;
}

TEST(Export, EveryFormatReadsBackWhatItWrote) {
  const Folder folder;
  for (const std::string pool : {"token", "avg"}) {
    const auto model = merged_model(pool);
    const auto images = at::randn({2, 3, 32, 32});
    const auto expected = test::logits(*model, images);
    for (const auto& format : exporting::registry()) {
      if (format.adapters || (format.name == "huggingface" && pool == "avg")) continue;
      SCOPED_TRACE(format.name + " " + pool);
      const std::string path = folder / (format.name + pool);
      format.write(*model, path, {});
      EXPECT_EQ(std::filesystem::is_directory(path), format.folder);
      EXPECT_LT(largest_difference(format.run(path, images, *model), expected), 1e-5 * expected.abs().max().item<double>());
    }
  }
}

TEST(Export, FormatsOfAdaptersReadBackWhatTheyWrote) {
  const Folder folder;
  auto config = small_config();
  config.layer_scale = 1e-5;  // a DINOv2
  const auto model = random_model(config);
  Lora lora({.rank = 3, .alpha = 5, .targets = "q,v,fc2"});
  const auto attachment = attach(*model, lora);
  for (const auto& [name, tensor] : attachment->trainable()) {
    const at::NoGradGuard no_grad;
    at::Tensor(tensor).normal_(0.0, 0.3);
  }
  const auto images = random_images(config);
  const auto expected = test::logits(*model, images);
  for (const auto& format : exporting::registry()) {
    if (!format.adapters) continue;
    SCOPED_TRACE(format.name);
    ExportInfo info;
    info.method = lora.name();
    info.options = lora.options();
    format.write(*model, folder / format.name, info);
    EXPECT_EQ(test::names_in(folder / format.name),
              (std::vector<std::string>{"adapter_config.json", "adapter_model.safetensors"}));
    EXPECT_LT(largest_difference(format.run(folder / format.name, images, *model), expected),
              1e-5 * expected.abs().max().item<double>());
  }
}

TEST(Export, RefusesAdaptersAndLeavesNothing) {
  const Folder folder;
  const auto model = random_model(small_config());
  attach(*model, Rlrr());
  for (const auto& format : exporting::registry()) {
    ExportInfo info;
    info.method = "rlrr";
    const std::string reason = format.adapters ? "PEFT has no method like rlrr" : "adapters attached";
    expect_error<std::invalid_argument>([&] { format.write(*model, folder / "out", info); }, {reason});
    EXPECT_TRUE(folder.names().empty());
  }
}

TEST(Export, FormatsOfAdaptersNeedOne) {
  const Folder folder;
  const auto model = random_model(small_config());
  for (const std::string name : {"peft", "peft-transformers"}) {
    expect_error<std::invalid_argument>([&] { exporting::find(name).write(*model, folder / "out", {}); },
                                        {"no adapters to write"});
  }
}

TEST(Export, ReportsAFullDisk) {
  const auto model = random_model(small_config());
  for (const auto& format : exporting::registry()) {
    if (format.folder) continue;
    expect_error<std::runtime_error>([&] { format.write(*model, "/dev/full", {}); }, {"/dev/full", "No space left on device"});
  }
}

TEST(Export, AFolderThatCannotBeFinishedIsNotThere) {
  const Folder folder;
  const auto model = random_model(small_config());
  const test::FileSizeLimit limit(8192);  // config.json fits, the weights do not
  for (const std::string name : {"huggingface", "timm-folder"}) {
    expect_error<std::runtime_error>([&] { exporting::find(name).write(*model, folder / "out", {}); },
                                     {folder / "out/model.safetensors", "File too large"});
    EXPECT_TRUE(folder.names().empty());
  }
}

TEST(Export, AFolderMustBeNew) {
  const Folder folder;
  folder.write("there/file", "x");
  const auto model = random_model(small_config());
  expect_error<std::runtime_error>([&] { export_huggingface(*model, folder / "there"); }, {"there", "not empty"});
  expect_error<std::runtime_error>([&] { export_huggingface(*model, folder / "there/file"); }, {"there/file", "exists"});
  expect_error<std::runtime_error>([&] { export_huggingface(*model, folder / "no/place"); }, {"no/place", "No such file"});
  folder.remove("there/file");
  export_huggingface(*model, folder / "there/");
  EXPECT_EQ(test::names_in(folder / "there"),
            (std::vector<std::string>{"config.json", "model.safetensors", "preprocessor_config.json"}));
  EXPECT_EQ(folder.names(), std::vector<std::string>{"there"});
}

TEST(ExportHuggingFace, RefusesWhatTransformersDoesNotCompute) {
  const Folder folder;
  for (const auto& [name, config] : variants()) {
    SCOPED_TRACE(name);
    const auto model = random_model(config);
    const auto exported = folder / name;
    if (config.mean_pooling) {
      expect_error<std::invalid_argument>([&] { export_huggingface(*model, exported); }, {"mean over the patches"});
      EXPECT_TRUE(!std::filesystem::exists(exported));
    } else {
      export_huggingface(*model, exported);
    }
  }
  auto without_scale = small_config();
  without_scale.register_tokens = 4;
  without_scale.position_for_prefix = false;
  expect_error<std::invalid_argument>([&] { export_huggingface(*random_model(without_scale), folder / "x"); },
                                      {"register tokens"});
}

TEST(Export, SuggestsAFormat) {
  EXPECT_EQ(exporting::find("timm").name, "timm");
  expect_error<std::invalid_argument>([] { exporting::find("hugingface"); }, {"did you mean 'huggingface'?"});
  expect_error<std::invalid_argument>([] { exporting::find("torchscrip"); }, {"did you mean 'torchscript'?"});
}

}  // namespace
}  // namespace respeft
