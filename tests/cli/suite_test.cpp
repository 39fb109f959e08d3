#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>

#include <respeft/train/recipe.h>

#include "tests/cli/small_model.h"
#include "tests/png.h"

namespace respeft::test {
namespace {

namespace fs = std::filesystem;

std::string recipe_folder() {
  return (fs::absolute(program()).parent_path().parent_path() / "share" / "respeft" / "recipes").string();
}

train::TrainConfig recipe(const std::string& name) {
  return train::apply_recipe(train::find_recipe(name, recipe_folder()));
}

TEST(Recipes, AreListedOneByOne) {
  const Outcome all = run({"recipes"}), some = run({"recipes", "rlrr/vtab"}), json = run({"recipes", "rlrr/vtab", "--json"});
  ASSERT_EQ(all.status, 0) << all.err;
  EXPECT_NE(all.out.find("\nssf/vtab/svhn "), std::string::npos) << all.out;
  EXPECT_EQ(some.out.find("ssf/"), std::string::npos);
  EXPECT_EQ(std::count(some.out.begin(), some.out.end(), '\n'), 2 + 19) << some.out;
  EXPECT_EQ(json.json().size(), 19u);
  const Outcome one = run({"recipes", "rlrr/vtab/cifar"});
  EXPECT_EQ(one.out, read_text(recipe_folder() + "/rlrr/vtab/cifar.toml"));
  EXPECT_EQ(run({"recipes", "rlrr/vtab/cifar", "--json"}).json()["settings"]["lr"], "0.003");
  expect_error(run({"recipes", "rlrr/vtab/cifr"}), 2, {"unknown recipe 'rlrr/vtab/cifr'; did you mean 'rlrr/vtab/cifar'?"});
}

TEST(Recipes, EveryOneCanBeUsed) {
  const auto recipes = train::recipes_in(recipe_folder());
  ASSERT_EQ(recipes.size(), 4u * 19 + 4u * 5);
  for (const auto& recipe : recipes) {
    SCOPED_TRACE(recipe.name);
    EXPECT_GT(recipe.summary.size(), 10u);
    train::TrainConfig config = train::apply_recipe(recipe);
    EXPECT_EQ(config.recipe, recipe.name);
    EXPECT_TRUE(config.data.empty() && config.weights.empty() && config.out.empty()) << "these are the user's";
    config.data = "vtab:somewhere/x";
    config.out = "run";
    EXPECT_NO_THROW(train::resolve(config));
  }
}

// RLRR's table in its released code: learning rate, drop path (an element dropout there), weight decay, flip.
TEST(Recipes, RlrrsTable) {
  struct Row {
    double lr, dropout, decay;
    bool flip;
  };
  const std::map<std::string, Row> table = {
      {"caltech101", {1e-3, 0.1, 5e-5, false}},
      {"cifar", {3e-3, 0.1, 5e-5, false}},
      {"dtd", {2e-3, 0.1, 5e-5, true}},
      {"oxford_flowers102", {3e-3, 0.3, 5e-2, false}},
      {"oxford_iiit_pet", {1e-3, 0.1, 5e-5, true}},
      {"svhn", {5e-3, 0.3, 5e-5, false}},
      {"sun397", {1e-3, 0.1, 5e-5, false}},
      {"patch_camelyon", {3e-3, 0.3, 5e-2, true}},
      {"eurosat", {1e-3, 0.1, 5e-5, true}},
      {"resisc45", {3e-3, 0.0, 5e-5, false}},
      {"diabetic_retinopathy", {5e-3, 0.1, 5e-5, true}},
      {"clevr_count", {5e-3, 0.5, 5e-5, true}},
      {"clevr_dist", {1e-2, 0.2, 5e-5, true}},
      {"dmlab", {5e-3, 0.3, 5e-5, true}},
      {"kitti", {3e-3, 0.3, 5e-2, true}},
      {"dsprites_loc", {1e-2, 0.1, 5e-5, false}},
      {"dsprites_ori", {5e-3, 0.1, 5e-5, false}},
      {"smallnorb_azi", {5e-3, 0.3, 5e-2, false}},
      {"smallnorb_ele", {1e-3, 0.3, 5e-5, true}},
  };
  ASSERT_EQ(table.size(), 19u);
  for (const auto& [name, row] : table) {
    const auto c = recipe("rlrr/vtab/" + name);
    EXPECT_EQ(c.lr, row.lr) << name;
    EXPECT_EQ(c.branch_dropout, row.dropout) << name;
    EXPECT_EQ(c.weight_decay, row.decay) << name;
    EXPECT_EQ(c.flip, row.flip) << name;
    EXPECT_EQ(c.method, "rlrr");
    EXPECT_EQ(c.total_epochs(), 110);
    EXPECT_EQ(c.warmup_epochs, 10);
    EXPECT_EQ(c.warmup_lr, 1e-7);
    EXPECT_EQ(c.min_lr, 1e-8);
    EXPECT_TRUE(c.schedule_lag && c.zero_head && !c.decay_all);
    EXPECT_EQ(c.batch_size, 32);
    EXPECT_EQ(c.mean[0], 0.5);
    EXPECT_EQ(c.protocol, "paper");
    EXPECT_EQ(c.seed, 42);
  }
}

// FGVC's learning rates and dropouts in RLRR's released code, and SSF's learning rates in its released scripts.
TEST(Recipes, FgvcsTables) {
  struct Row {
    double rlrr_lr, rlrr_dropout, ssf_lr;
  };
  const std::map<std::string, Row> table = {{"cub", {3e-3, 0.1, 1e-2}},
                                            {"nabirds", {5e-4, 0.3, 2e-4}},
                                            {"flowers", {3e-3, 0.2, 1e-2}},
                                            {"dogs", {1e-4, 0.0, 2.5e-4}},
                                            {"cars", {3e-3, 0.2, 2e-2}}};
  for (const auto& [name, row] : table) {
    SCOPED_TRACE(name);
    const auto plain = recipe("rlrr/fgvc/" + name), augmented = recipe("rlrr/fgvc-augmented/" + name),
               ssf = recipe("ssf/fgvc/" + name);
    EXPECT_EQ(plain.total_epochs(), 60);
    EXPECT_EQ(plain.mixup, 0.0);
    EXPECT_EQ(plain.ema_decay, 0.0);
    EXPECT_EQ(augmented.total_epochs(), 110);
    EXPECT_EQ(augmented.mixup, 0.8);
    EXPECT_EQ(augmented.cutmix, 1.0);
    EXPECT_EQ(augmented.label_smoothing, 0.1);
    EXPECT_EQ(augmented.ema_decay, 0.9998);
    for (const auto& c : {plain, augmented}) {
      EXPECT_EQ(c.lr, row.rlrr_lr);
      EXPECT_EQ(c.branch_dropout, row.rlrr_dropout);
      EXPECT_EQ(c.resize_mode, "squash");
      EXPECT_EQ(c.interpolation, "bilinear");
    }
    EXPECT_EQ(ssf.lr, row.ssf_lr);
    EXPECT_EQ(ssf.random_erasing, 0.25);
    EXPECT_EQ(ssf.ema_decay, name == "flowers" ? 0.999 : 0.9998);
    EXPECT_EQ(ssf.resize_mode, "shortest");
    for (const auto& c : {plain, augmented, ssf}) {
      EXPECT_EQ(c.weight_decay, 5e-2);
      EXPECT_EQ(c.resize_size, 256);
      EXPECT_TRUE(c.random_crop && c.flip);
    }
  }
}

TEST(Recipes, FlagsAndFilesChangeARecipe) {
  const Folder folder;
  const auto dry = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"train", "--data", "vtab:x/cifar", "--out", folder / "run", "--dry-run", "--json"});
    return run(more);
  };
  const auto plain = dry({"--recipe", "rlrr/vtab/cifar"}).json();
  EXPECT_EQ(plain["recipe"], "rlrr/vtab/cifar");
  EXPECT_EQ(plain["lr"], "0.003");
  EXPECT_EQ(plain["batch_size"], "32");
  const std::string own = folder.write("own.toml", "# mine\nmodel = \"vit_tiny_patch16_224\"\nlr = 0.5\nepochs = 7\n");
  const auto mine = dry({"--recipe", own, "--epochs", "9"}).json();
  EXPECT_EQ(mine["recipe"], own);
  EXPECT_EQ(mine["lr"], "0.5");
  EXPECT_EQ(mine["epochs"], "9");
  const std::string config = folder.write("config.toml", "lr = 0.25\n");
  EXPECT_EQ(dry({"--recipe", own, "--config", config}).json()["lr"], "0.25");
  expect_error(dry({"--recipe", "rlrr/cifar"}), 2, {"unknown recipe 'rlrr/cifar'"});
  expect_error(dry({"--recipe", folder / "none.toml"}), 1, {"none.toml", "No such file"});
  folder.write("own.toml", "lrr = 1\n");
  expect_error(dry({"--recipe", own}), 2, {"own.toml:1: unknown key 'lrr'; did you mean 'lr'?"});
}

/// A root with two data sets of VTAB-1k, each with 8 images to train on, 4 to choose by and 4 to test on.
struct SmallVtab {
  Folder folder;
  SmallModel model;

  SmallVtab() {
    for (const std::string name : {"kitti", "patch_camelyon"}) {
      const int classes = name == "kitti" ? 4 : 2;
      for (const auto& [list, count] : {std::pair("train800", 8), std::pair("val200", 4), std::pair("test", 4)}) {
        std::string lines;
        for (int i = 0; i < count; ++i) {
          const std::string path = "images/" + std::string(list) + "/" + std::to_string(i) + ".png";
          const std::vector<uint8_t> pixels(8 * 8 * 3, static_cast<uint8_t>(i % classes * 60 + 5));
          folder.write(name + "/" + path, png(8, 8, pixels));
          lines += path + " " + std::to_string(i % classes) + "\n";
        }
        folder.write(name + "/" + list + ".txt", lines);
      }
    }
  }

  std::vector<std::string> flags(const std::vector<std::string>& more) const {
    std::vector<std::string> all = {"suite",
                                    "vtab:" + folder.path(),
                                    "--model",
                                    kModel,
                                    "--weights",
                                    model.base(),
                                    "--out",
                                    out(),
                                    "--epochs",
                                    "2",
                                    "--warmup-epochs",
                                    "0",
                                    "--cooldown-epochs",
                                    "0",
                                    "--image-size",
                                    "32"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string out() const { return folder / "runs"; }
};

TEST(Suite, TrainsEachDataSetWithItsRecipeAndPrintsTheTable) {
  const SmallVtab vtab;
  const Outcome outcome = run(vtab.flags({}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const std::string line = "\\s+[0-9.]+ %";
  for (const std::string row : {"patch_camelyon\\s+specialized", "kitti\\s+structured", "mean\\s+specialized",
                                "mean\\s+structured", "mean of 2", "mean of groups"}) {
    EXPECT_TRUE(std::regex_search(outcome.out, std::regex("\n" + row + line))) << row << "\n" << outcome.out;
  }
  EXPECT_NE(outcome.out.find("protocol paper: the best epoch on the TEST split"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("2 of the benchmark's 19 data sets"), std::string::npos) << outcome.out;
  const std::string config = read_text(vtab.out() + "/kitti/config.toml");
  EXPECT_NE(config.find("recipe = \"rlrr/vtab/kitti\""), std::string::npos) << config;
  EXPECT_NE(config.find("weight_decay = 0.05"), std::string::npos) << config;
  const auto summary = nlohmann::json::parse(read_text(vtab.out() + "/summary.json"));
  EXPECT_EQ(summary["datasets"].size(), 2u);
  EXPECT_EQ(summary["datasets"][0]["dataset"], "patch_camelyon");
  EXPECT_EQ(summary["means"].size(), 4u);

  expect_error(run(vtab.flags({})), 2, {"--out: ", "/patch_camelyon is there already", "--resume"});
  const Outcome again = run(vtab.flags({"--resume", "--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.json(), summary) << "nothing was left to do";
}

TEST(Suite, HonestGivesDeviations) {
  const SmallVtab vtab;
  const Outcome outcome =
      run(vtab.flags({"--datasets", "kitti", "--protocol", "honest", "--seeds", "1,2", "--grid", "lr=1e-3,1e-2", "--json"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto kitti = outcome.json()["datasets"][0];
  EXPECT_EQ(kitti["protocol"], "honest");
  EXPECT_EQ(kitti["runs"].size(), 2u);
  EXPECT_EQ(kitti["candidates"].size(), 2u);
  EXPECT_TRUE(kitti["test_accuracy_deviation"].is_number());
  EXPECT_EQ(outcome.json()["means"][1]["mean"], "mean of 1");
  expect_error(run({"eval", "--run", vtab.out() + "/kitti", "--data", "vtab:" + vtab.folder / "kitti"}), 1,
               {"holds several runs", "/kitti/seed-N"});
}

TEST(Suite, MistakesAreSaidBeforeTraining) {
  const SmallVtab vtab;
  expect_error(run(vtab.flags({"--datasets", "kiti"})), 2, {"--datasets", "'kiti'", "did you mean 'kitti'?"});
  expect_error(run(vtab.flags({"--recipes", "rlr/vtab"})), 2,
               {"unknown recipe 'rlr/vtab/patch_camelyon'", "did you mean 'rlrr/"});
  expect_error(run(vtab.flags({"--lr", "-1"})), 2, {"--lr: must be above 0"});
  expect_error(run({"suite", "vtab:" + vtab.folder / "nowhere", "--out", vtab.out()}), 1, {"nowhere"});
  expect_error(run({"suite", "cifar:" + vtab.folder.path(), "--out", vtab.out()}), 2, {"expected vtab:ROOT or fgvc:ROOT"});
  EXPECT_FALSE(fs::exists(vtab.out()));
}

}  // namespace
}  // namespace respeft::test
