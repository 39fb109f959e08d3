#include <respeft/export.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/io/safetensors.h>
#include <respeft/io/weights.h>
#include <respeft/merge.h>
#include <respeft/methods/rlrr.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/serialization/import.h>

#include <set>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/io/small_model.h"

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
  io::TensorMap found;
  for (const auto& item : torch::jit::load(folder / "model.pt").named_parameters()) found[item.name] = item.value;
  const io::TensorMap expected = io::plain_state(*model);
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
  EXPECT_EQ(io::preprocessing_from_json(extra.at("preprocessing.json")), info.preprocessing);
  EXPECT_EQ(extra.at("class_names.json"), R"(["a","b","c","d","\"e\""])");
}

TEST(ExportTorchScript, RefusesImagesOfAnotherSize) {
  const Folder folder;
  const auto model = random_model(small_config());
  export_torchscript(*model, folder / "model.pt");
  auto module = torch::jit::load(folder / "model.pt");
  expect_error<std::exception>([&] { module.forward({at::zeros({1, 3, 18, 18})}); }, {"expected images [B, 3, 16, 16]"});
}

TEST(Export, EveryFormatReadsBackWhatItWrote) {
  const Folder folder;
  models::ModelOptions options;
  options.num_classes = 3;
  options.image_size = 32;
  options.pool = "avg";
  const auto model = models::create("vit_tiny_patch16_224", options);
  model->eval();
  const at::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(at::randn_like(parameter), 0.02);
  attach(*model, Rlrr());
  merge(*model);
  const auto images = at::randn({2, 3, 32, 32});
  const auto expected = model->forward(images);
  for (const auto& format : exporting::registry()) {
    SCOPED_TRACE(format.name);
    format.write(*model, folder / format.name, {});
    EXPECT_LT(largest_difference(format.run(folder / format.name, images, *model), expected),
              1e-5 * expected.abs().max().item<double>());
  }
}

TEST(Export, RefusesAdaptersAndLeavesNothing) {
  const Folder folder;
  const auto model = random_model(small_config());
  attach(*model, Rlrr());
  for (const auto& format : exporting::registry()) {
    expect_error<std::invalid_argument>([&] { format.write(*model, folder / "out", {}); }, {"adapters attached"});
    EXPECT_TRUE(folder.names().empty());
  }
}

TEST(Export, ReportsAFullDisk) {
  const auto model = random_model(small_config());
  for (const auto& format : exporting::registry()) {
    expect_error<std::runtime_error>([&] { format.write(*model, "/dev/full", {}); }, {"/dev/full", "No space left on device"});
  }
}

TEST(Export, SuggestsAFormat) {
  EXPECT_EQ(exporting::find("timm").name, "timm");
  expect_error<std::invalid_argument>([] { exporting::find("torchscrip"); }, {"did you mean 'torchscript'?"});
}

}  // namespace
}  // namespace respeft
