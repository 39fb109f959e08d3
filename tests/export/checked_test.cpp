#include <respeft/export/checked.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/serialization/import.h>

#include <atomic>
#include <filesystem>
#include <nlohmann/json.hpp>

#include <respeft/core/interrupt.h>
#include <respeft/formats/file.h>
#include <respeft/formats/safetensors.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft {
namespace {

using test::expect_error;
using test::Folder;
using test::random_model;
using test::small_config;

TEST(CheckedExport, WritesWhatComputesTheSame) {
  const auto model = random_model(small_config());
  const Probe probe = random_probe(*model, 5);
  for (const std::string name : {"torchscript", "timm", "huggingface"}) {
    const Folder folder;
    const auto done = export_checked(*model, exporting::find(name), folder / "out", {}, probe);
    ASSERT_TRUE(done.comparison.has_value()) << name;
    EXPECT_EQ(done.comparison->images, 5);
    EXPECT_GT(done.bytes, 10000) << name;
    EXPECT_FALSE(done.random_head);
    EXPECT_EQ(folder.names(), std::vector<std::string>{"out"}) << name;
  }
}

TEST(CheckedExport, AFileThatComputesSomethingElseIsNotKept) {
  const Folder folder;
  const auto model = random_model(small_config());
  ExportFormat wrong = exporting::find("timm");
  wrong.run = [](const std::string&, const at::Tensor& images, const models::Model&) { return at::ones({images.size(0), 5}); };
  expect_error<ToleranceExceeded>([&] { export_checked(*model, wrong, folder / "out.safetensors", {}, random_probe(*model, 2)); },
                                  {"the logits of the exported file and the model differ", "nothing was written"});
  EXPECT_TRUE(folder.names().empty());
  // One that has kept the batch size.
  wrong.run = [](const std::string& path, const at::Tensor& images, const models::Model& like) {
    const at::Tensor logits = exporting::find("timm").run(path, images, like);
    return images.size(0) == 1 ? logits + 1 : logits;
  };
  expect_error<ToleranceExceeded>([&] { export_checked(*model, wrong, folder / "out.safetensors", {}, random_probe(*model, 2)); },
                                  {"for a single image"});
  EXPECT_TRUE(folder.names().empty());
}

TEST(CheckedExport, StoppingLeavesNothing) {
  const Folder folder;
  const auto model = random_model(small_config());
  std::atomic<bool> stop = false;
  ExportFormat format = exporting::find("timm");
  const auto write = format.write;
  format.write = [&](models::Model& written, const std::string& path, const ExportInfo& info) {
    write(written, path, info);
    stop = true;
  };
  EXPECT_THROW(export_checked(*model, format, folder / "out.safetensors", {}, random_probe(*model, 2), {.stop = &stop}),
               Interrupted);
  EXPECT_TRUE(folder.names().empty());
}

/// Wrong files with a head of zeros would all pass.
TEST(CheckedExport, AHeadOfZerosIsComparedWithARandomOne) {
  const Folder folder;
  const auto model = random_model(small_config());
  {
    const at::NoGradGuard no_grad;
    model->head->weight.zero_();
  }
  const auto done = export_checked(*model, exporting::find("timm"), folder / "out.safetensors", {}, random_probe(*model, 4));
  EXPECT_TRUE(done.random_head);
  EXPECT_FALSE(formats::SafetensorsFile(folder / "out.safetensors").tensor("head.weight").any().item<bool>());
  ExportFormat wrong = exporting::find("timm");
  wrong.run = [](const std::string& path, const at::Tensor& images, const models::Model& like) {
    return exporting::find("timm").run(path, images + 1, like);
  };
  expect_error<ToleranceExceeded>(
      [&] { export_checked(*model, wrong, folder / "wrong.safetensors", {}, random_probe(*model, 4)); }, {"differ"});
  EXPECT_EQ(folder.names(), std::vector<std::string>{"out.safetensors"});
}

/// As README has it: no `ExportInfo` given, and the model is of another size than 224.
TEST(Export, FilesSayTheModelsOwnSize) {
  const Folder folder;
  const auto model = random_model(small_config());
  export_torchscript(*model, folder / "model.pt");
  torch::jit::ExtraFilesMap extra = {{"preprocessing.json", ""}};
  torch::jit::load(folder / "model.pt", std::nullopt, extra);
  EXPECT_EQ(data::preprocessing_from_json(extra.at("preprocessing.json")).size, 16);
  export_timm(*model, folder / "model.safetensors");
  const formats::SafetensorsFile weights(folder / "model.safetensors");
  EXPECT_EQ(data::preprocessing_from_json(weights.metadata().at("preprocessing")).size, 16);
  export_huggingface(*model, folder / "huggingface");
  const auto processor = nlohmann::json::parse(formats::read_file(folder / "huggingface/preprocessor_config.json"));
  EXPECT_EQ(processor["size"], (nlohmann::json{{"height", 16}, {"width", 16}}));
  EXPECT_EQ(processor["do_convert_rgb"], false) << "which would lay transparent images on white";
}

}  // namespace
}  // namespace respeft
