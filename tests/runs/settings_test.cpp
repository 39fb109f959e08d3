#include <respeft/runs/settings.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>

#include <respeft/formats/file.h>
#include <respeft/formats/safetensors.h>
#include <respeft/models/weights.h>
#include <respeft/runs/recipe.h>
#include <respeft/runs/run.h>

#include "tests/expect_error.h"
#include "tests/folder.h"

namespace respeft::runs {
namespace {

using test::expect_error;
using Channels = std::array<double, 3>;

struct MakeConfig : testing::Test {
  ConfigSources sources(Settings more = {}) const {
    ConfigSources all;
    all.recipes = folder / "recipes";
    all.settings = {{"model", "vit_tiny_patch16_224"}, {"data", "imagefolder:x"}, {"out", folder / "run"}};
    all.settings.insert(all.settings.end(), more.begin(), more.end());
    return all;
  }
  TomlDocument file(const std::string& toml) const { return parse_toml(toml, "own.toml"); }

  test::Folder folder;
};

TEST_F(MakeConfig, DefaultsThenRecipeThenFileThenSettings) {
  folder.write("recipes/mine.toml", "# mine\nlr = 0.5\nepochs = 40\nbatch_size = 8\nmethod = \"lora\"\nrank = 3\n");
  const TrainConfig defaults;
  EXPECT_EQ(make_config(sources()).lr, defaults.lr);
  auto all = sources({{"recipe", "mine"}});
  EXPECT_EQ(make_config(all).lr, 0.5);
  EXPECT_EQ(make_config(all).method_options.at("rank"), OptionValue(int64_t{3}));
  all.file = file("lr = 0.25\nbatch_size = 16\n");
  EXPECT_EQ(make_config(all).lr, 0.25);
  all.settings.emplace_back("lr", "0.125");
  const TrainConfig config = make_config(all);
  EXPECT_EQ(config.lr, 0.125);
  EXPECT_EQ(config.batch_size, 16);
  EXPECT_EQ(config.epochs, 40);
  EXPECT_EQ(config.recipe, "mine");
}

TEST_F(MakeConfig, AFileMayNameTheRecipeAndAnotherMethod) {
  folder.write("recipes/mine.toml", "# mine\nmethod = \"lora\"\nrank = 3\nlr = 0.5\n");
  auto all = sources();
  all.file = file("recipe = \"mine\"\n[method]\nmethod = \"rlrr\"\n");
  const TrainConfig config = make_config(all);
  EXPECT_EQ(config.method, "rlrr");
  EXPECT_EQ(config.lr, 0.5);
  EXPECT_EQ(config.recipe, "mine");
  EXPECT_FALSE(config.method_options.contains("rank")) << "an option of the recipe's method";
}

TEST_F(MakeConfig, ARecipesOptionsStayWhenAFileOfAnotherMethodIsOverruled) {
  folder.write("recipes/mine.toml", "# mine\nmethod = \"lora\"\nrank = 3\n");
  auto all = sources({{"recipe", "mine"}, {"method", "lora"}});
  all.file = file("[method]\nmethod = \"loha\"\nrank = 5\n");
  const TrainConfig config = make_config(all);
  EXPECT_EQ(config.method, "lora");
  EXPECT_EQ(config.method_options.at("rank"), OptionValue(int64_t{3}));
}

TEST_F(MakeConfig, ErrorsCallSettingsAsTheCallerDoes) {
  const auto refused = [&](Settings more, const std::vector<std::string>& words) {
    auto all = sources(std::move(more));
    expect_error<std::invalid_argument>([&] { make_config(all); }, words);
  };
  refused({{"lr", "fast"}}, {"lr: ", "'fast'"});
  refused({{"rank", "4"}}, {"method rlrr has no option rank"});
  refused({{"method", "lora"}, {"rank", "x"}}, {"rank: ", "'x'"});
  refused({{"method", "lorra"}}, {"did you mean 'lora'"});
  auto all = sources({{"batch_size", "x"}});
  all.called = [](const std::string& name) { return "--" + name; };
  expect_error<std::invalid_argument>([&] { make_config(all); }, {"--batch_size: "});
  all = sources();
  all.settings.clear();
  all.resume = true;
  expect_error<std::invalid_argument>([&] { make_config(all); }, {"resume needs out"});
}

/// The weights' normalization is taken where nothing says another.
TEST_F(MakeConfig, NormalizationComesFromTheWeights) {
  const Channels imagenet_mean = {0.485, 0.456, 0.406}, imagenet_std = {0.229, 0.224, 0.225}, half = {0.5, 0.5, 0.5};
  const std::string weights = folder / "weights.safetensors";
  formats::save_safetensors(weights, {{"norm.weight", at::ones({2})}},
                            {{"preprocessing", R"({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "size": 32,
                                                  "interpolation": "bicubic"})"}});
  std::vector<std::string> notes;
  const auto made = [&](Settings more) {
    more.emplace_back("weights", weights);
    auto all = sources(std::move(more));
    all.note = [&](const std::string& line) { notes.push_back(line); };
    notes.clear();
    return make_config(all);
  };
  const TrainConfig open = made({});
  EXPECT_EQ(open.mean, imagenet_mean);
  EXPECT_EQ(open.std, imagenet_std);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("as the weights were trained"), std::string::npos) << notes[0];

  const TrainConfig given = made({{"mean", "half"}, {"std", "half"}});
  EXPECT_EQ(given.mean, half);
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("but training would use 0.5,0.5,0.5"), std::string::npos) << notes[0];

  folder.write("recipes/mine.toml", "# mine\nmean = \"half\"\nstd = \"half\"\n");
  EXPECT_EQ(made({{"recipe", "mine"}}).mean, half) << "a recipe keeps its own";
  EXPECT_EQ(make_config(sources()).mean, half) << "without weights";
  EXPECT_EQ(make_config(sources({{"weights", folder / "none"}})).mean, half);
}

TEST_F(MakeConfig, WhatSuitesKeepIsInOneSpelling) {
  const ConfigSources plain;
  const auto kept = canonical({{"lr", "1e-3"},
                               {"lr", "2e-3"},
                               {"flip", "on"},
                               {"threads", "2"},
                               {"out", "x"},
                               {"rank", "08"},
                               {"weights", "w.safetensors"}},
                              plain);
  EXPECT_EQ(kept.at("lr"), "0.002");
  EXPECT_EQ(kept.at("flip"), "true");
  EXPECT_EQ(kept.at("rank"), "8");
  EXPECT_EQ(kept.at("weights"), std::filesystem::absolute("w.safetensors").string());
  EXPECT_FALSE(kept.contains("threads") || kept.contains("out"));
  const Settings again = continued({{"epochs", "9"}}, {{"epochs", "7"}, {"lr", "0.002"}}, "suite.toml", true, plain);
  EXPECT_EQ(setting(again, "epochs"), "9");
  EXPECT_EQ(setting(again, "lr"), "0.002");
  expect_error<std::invalid_argument>(
      [&] {
        continued({{"lr", "1"}}, {{"lr", "0.002"}}, "suite.toml", true, plain);
      },
      {"cannot resume what suite.toml began", "lr: begun with '0.002', asked for is '1'"});
  EXPECT_EQ(setting(continued({{"lr", "1"}}, {{"lr", "0.002"}}, "suite.toml", false, plain), "lr"), "1");
  expect_error<std::invalid_argument>(
      [&] {
        continued({}, {{"lrr", "1"}}, "suite.toml", true, plain);
      },
      {"suite.toml: unknown setting 'lrr'"});
}

TEST(RecipeDirectory, IsFoundFromTheLibrary) {
  EXPECT_TRUE(std::filesystem::is_directory(recipe_directory())) << recipe_directory();
  EXPECT_EQ(find_recipe("rlrr/vtab/cifar").name, "rlrr/vtab/cifar");
  EXPECT_EQ(recipes_in().size(), recipes_in(recipe_directory()).size());
}

}  // namespace
}  // namespace respeft::runs
