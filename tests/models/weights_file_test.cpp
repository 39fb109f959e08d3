#include <respeft/models/weights_file.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/formats/file.h>
#include <respeft/formats/safetensors.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/small_vit.h"

namespace respeft::models {
namespace {

using test::expect_error;
using test::Folder;
using test::random_model;
using test::small_config;
using Channels = std::array<double, 3>;

/// A folder with the weights of a small model; configurations are put beside them.
struct WeightsFileTest : testing::Test {
  WeightsFileTest() : path(folder / "model.safetensors") {
    formats::save_safetensors(path, plain_state(*random_model(small_config())));
  }
  WeightsFile open(const std::string& config, const std::string& name = "config.json") const {
    folder.write(name, config);
    return WeightsFile(path);
  }

  Folder folder;
  std::string path;
};

TEST_F(WeightsFileTest, IsOpenedOnceAndAnswersEverything) {
  const WeightsFile file(path);
  EXPECT_EQ(file.path(), path);
  EXPECT_EQ(file.format(), "safetensors");
  EXPECT_EQ(file.files(), (std::vector<std::string>{path}));
  EXPECT_EQ(file.sha256(), formats::file_sha256(path));
  EXPECT_EQ(file.layout(), "timm");
  EXPECT_EQ(file.head_classes(), 5);
  EXPECT_EQ(file.shapes().at("head.weight").sizes(), at::IntArrayRef({5, 32}));
  EXPECT_EQ(file.model() + file.pool(), "");
  EXPECT_TRUE(file.class_names().empty());
  EXPECT_FALSE(file.preprocessing() || file.normalization() || file.image_size());
  const auto loaded = random_model(small_config(), 2);
  file.require_fit(*loaded);
  EXPECT_EQ(file.load(*loaded).layout, "timm");
  EXPECT_EQ(base_sha256(*loaded), base_sha256(*random_model(small_config())));
  const auto check = file.check(*loaded);
  EXPECT_EQ(check.fault, "");
  EXPECT_EQ(check.matched.size(), loaded->named_parameters().size());
}

TEST_F(WeightsFileTest, MetadataComeBeforeAConfigurationBesideIt) {
  const data::Preprocessing own{.mean = {0.1, 0.2, 0.3}, .size = 16};
  formats::save_safetensors(
      path, plain_state(*random_model(small_config())),
      {{"model", "vit_small_test"}, {"pool", "avg"}, {"preprocessing", to_json(own)}, {"class_names", R"(["a", "b"])"}});
  const auto file = open(R"({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {"label_names": ["c"]}})");
  EXPECT_EQ(file.model(), "vit_small_test");
  EXPECT_EQ(file.pool(), "avg");
  EXPECT_EQ(*file.preprocessing(), own);
  EXPECT_EQ(file.image_size(), 16);
  EXPECT_EQ(file.class_names(), (std::vector<std::string>{"a", "b"}));
}

TEST_F(WeightsFileTest, ReadsTimmsConfiguration) {
  const auto file = open(R"({"architecture": "vit_tiny_patch16_224", "model_args": {"global_pool": "avg"},
      "pretrained_cfg": {"input_size": [3, 48, 48], "crop_pct": 0.9, "interpolation": "bilinear", "label_names": ["a", "b"]}})");
  EXPECT_EQ(file.model(), "vit_tiny_patch16_224");
  EXPECT_EQ(file.pool(), "avg");
  EXPECT_EQ(file.image_size(), 48);
  EXPECT_EQ(file.class_names(), (std::vector<std::string>{"a", "b"}));
  // timm's defaults: ImageNet's mean and std, and images cut out after the shorter side is 48 / 0.9 = 53 pixels.
  const data::Preprocessing expected{.mean = {0.485, 0.456, 0.406},
                                     .std = {0.229, 0.224, 0.225},
                                     .size = 48,
                                     .interpolation = "bilinear",
                                     .resize_size = 53,
                                     .resize_mode = "shortest"};
  EXPECT_EQ(*file.preprocessing(), expected);
}

TEST_F(WeightsFileTest, ReadsTransformersConfigurations) {
  folder.write("preprocessor_config.json", R"({"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 48},
      "rescale_factor": 0.00784313725490196, "do_normalize": false})");
  const auto file = open(R"({"model_type": "vit", "image_size": 32, "id2label": {"0": "a", "1": "b"}})");
  EXPECT_EQ(file.class_names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(file.image_size(), 48);
  const auto found = file.preprocessing();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->interpolation, "bilinear");  // the processor's own
  EXPECT_EQ(found->mean, (Channels{0.0, 0.0, 0.0}));
  for (const double std : found->std) EXPECT_NEAR(std, 0.5, 1e-9);  // v / 127.5 = (v / 255) / 0.5
  folder.remove("preprocessor_config.json");
  EXPECT_EQ(WeightsFile(path).image_size(), 32);
  EXPECT_TRUE(open(R"({"model_type": "vit", "id2label": {"0": "LABEL_0", "1": "LABEL_1"}})").class_names().empty());
}

TEST_F(WeightsFileTest, NamesThatAreNotThereAreAnError) {
  const auto file = open(R"({"model_type": "vit", "id2label": {"0": "a", "2": "b"}})");
  expect_error<std::runtime_error>([&] { file.class_names(); }, {"config.json", "no name of class 1"});
  expect_error<std::runtime_error>([&] { open("7", "preprocessor_config.json").preprocessing(); },
                                   {"preprocessor_config.json", "not a JSON object"});
}

TEST_F(WeightsFileTest, ATimmFolderOfAnotherModelIsRefused) {
  const auto model = random_model(small_config());
  const auto load = [&](const std::string& args) { open(R"({"architecture": "x", "model_args": )" + args + "}").load(*model); };
  load(R"({"img_size": 224, "drop_path_rate": 0.1, "num_heads": 2, "act_layer": null, "fc_norm": false})");
  for (const auto& [args, named] :
       std::vector<std::pair<std::string, std::string>>{{R"({"num_heads": 4})", "'num_heads' is 4"},
                                                        {R"({"act_layer": "gelu_tanh"})", "'act_layer' is"},
                                                        {R"({"norm_eps": 1e-5})", "'norm_eps' is"},
                                                        {R"({"init_values": 1e-5})", "'init_values' is"},
                                                        {R"({"swiglu": true})", "'swiglu'"}}) {
    expect_error<std::runtime_error>([&, &args = args] { load(args); }, {"config.json", named});
  }
}

TEST_F(WeightsFileTest, AHeadThatIsNoMatrixIsNamed) {
  auto state = plain_state(*random_model(small_config()));
  state["head.weight"] = at::ones({5});
  formats::save_safetensors(path, state);
  const WeightsFile file(path);
  expect_error<std::runtime_error>([&] { file.head_classes(); }, {path, "'head.weight' has shape [5]"});
  expect_error<std::runtime_error>([&] { file.load(*random_model(small_config())); }, {path, "'head.weight' has shape [5]"});
}

TEST_F(WeightsFileTest, ADistilledDeitIsNamed) {
  auto state = plain_state(*random_model(small_config()));
  state["dist_token"] = at::ones({1, 1, 32});
  state["pos_embed"] = at::ones({1, 18, 32});
  formats::save_safetensors(path, state);
  expect_error<std::runtime_error>([&] { load_weights(*random_model(small_config()), path); },
                                   {path, "distilled DeiT", "'dist_token'"});
}

TEST_F(WeightsFileTest, OneOfSeveralModelsIsChosenByName) {
  TensorMap both;
  for (const auto& [key, tensor] : plain_state(*random_model(small_config(), 1))) both["student." + key] = tensor;
  for (const auto& [key, tensor] : plain_state(*random_model(small_config(), 2))) both["teacher." + key] = tensor;
  formats::save_safetensors(path, both);
  expect_error<std::runtime_error>([&] { WeightsFile(path).layout(); }, {path, "'student.' and 'teacher.'"});
  const auto loaded = random_model(small_config(), 3);
  const WeightsFile teacher(path, "teacher");
  teacher.load(*loaded);
  EXPECT_EQ(base_sha256(*loaded), base_sha256(*random_model(small_config(), 2)));
  EXPECT_NE(teacher.sha256(), WeightsFile(path, "student").sha256());
}

}  // namespace
}  // namespace respeft::models
