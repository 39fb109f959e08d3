#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>

#include <respeft/runs/recipe.h>

#include "tests/cli/small_model.h"
#include "tests/expect_error.h"
#include "tests/png.h"

namespace respeft::test {
namespace {

namespace fs = std::filesystem;

std::string recipe_folder() {
  return (fs::absolute(program()).parent_path().parent_path() / "share" / "respeft" / "recipes").string();
}

runs::TrainConfig recipe(const std::string& name) {
  return runs::apply_recipe(runs::find_recipe(name, recipe_folder()));
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
  EXPECT_EQ(run({"recipes", "rlrr/vtab/"}).out, some.out);
  for (const std::string outside : {"..", "/tmp", "/", "rlrr/vtab/.."}) {
    expect_error(run({"recipes", outside}), 2, {"unknown recipe '" + outside + "'"});
  }
}

TEST(Recipes, EveryOneCanBeUsed) {
  const auto recipes = runs::recipes_in(recipe_folder());
  ASSERT_EQ(recipes.size(), 4u * 19 + 4u * 5);
  for (const auto& recipe : recipes) {
    SCOPED_TRACE(recipe.name);
    EXPECT_GT(recipe.summary.size(), 10u);
    runs::TrainConfig config = runs::apply_recipe(recipe);
    EXPECT_EQ(config.recipe, recipe.name);
    EXPECT_TRUE(config.data.empty() && config.weights.empty() && config.out.empty()) << "these are the user's";
    config.data = "vtab:somewhere/x";
    config.out = "run";
    if (recipe.name.starts_with("vpt/") || recipe.name.starts_with("fact/")) {
      EXPECT_EQ(config.method, "");
      expect_error<std::invalid_argument>([&] { runs::resolve(config); },
                                          {"method: missing; the recipe's own method is not in this program: give --method"});
      config.method = "lora";
    }
    EXPECT_NO_THROW(runs::resolve(config));
  }
}

TEST(Recipes, WithoutTheirMethodNeedAnother) {
  const Folder folder;
  const auto dry = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"train", "--recipe", "fact/vtab/cifar", "--data", "vtab:x/cifar", "--out", folder / "run",
                               "--dry-run", "--json"});
    return run(more);
  };
  expect_error(dry({}), 2, {"method: missing", "give --method"});
  expect_error(dry({"--rank", "4"}), 2, {"method: missing", "give --method"});
  const auto lora = dry({"--method", "lora", "--rank", "4"}).json();
  EXPECT_EQ(lora["method"], "lora");
  EXPECT_EQ(lora["method: rank"], "4");
  EXPECT_EQ(lora["decay"], "all");
}

// SSF's and VPT's optimizers and schedules in their released code.
TEST(Recipes, DecayAndWarmup) {
  for (const auto& listed : runs::recipes_in(recipe_folder())) {
    const auto c = recipe(listed.name);
    const bool ssf = listed.name.starts_with("ssf/"), rlrr = listed.name.starts_with("rlrr/");
    EXPECT_EQ(c.decay, ssf ? "matrices" : rlrr ? "names" : "all") << listed.name;
    EXPECT_EQ(c.warmup_prefix, listed.name.starts_with("vpt/")) << listed.name;
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
    EXPECT_TRUE(c.schedule_lag && c.zero_head && c.decay == "names");
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
    EXPECT_EQ(ssf.resize_size, 248);  // 224 / 0.9, timm's crop_pct of the model
    EXPECT_EQ(ssf.random_resized_crop, 0.08);
    EXPECT_EQ(ssf.train_interpolation, "random");
    for (const auto& c : {plain, augmented}) {
      EXPECT_EQ(c.resize_size, 256);
      EXPECT_TRUE(c.random_crop);
      EXPECT_EQ(c.random_resized_crop, 0.0);
    }
    for (const auto& c : {plain, augmented, ssf}) {
      EXPECT_EQ(c.weight_decay, 5e-2);
      EXPECT_TRUE(c.flip);
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
  folder.write("own.toml", "recipe = \"rlrr/vtab/cifar\"\nlr = 0.5\n");
  expect_error(dry({"--recipe", own}), 2, {"own.toml: recipe: a recipe has no recipe of its own", "'rlrr/vtab/cifar'"});
  EXPECT_EQ(dry({"--config", own}).json()["branch_dropout"], "0.1") << "of the recipe that the file names";
  folder.write("own.toml", "lrr = 1\n");
  expect_error(dry({"--recipe", own}), 2, {"own.toml:1: unknown key 'lrr'; did you mean 'lr'?"});
}

/// A root with two datasets of VTAB-1k, each with 8 images to train on, 4 to choose by and 4 to test on.
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

TEST(Recipes, OfAnotherDataSetAreNoted) {
  const SmallVtab vtab;
  const auto train = [&](const std::string& name) {
    const Outcome outcome = run({"train", "--recipe", "rlrr/vtab/" + name, "--data", "vtab:" + vtab.folder / "kitti", "--weights",
                                 vtab.model.base(), "--model", kModel, "--image-size", "32", "--epochs", "1", "--warmup-epochs",
                                 "0", "--cooldown-epochs", "0", "--out", vtab.out() + name});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.err;
  };
  const std::string words = "is for another dataset than vtab:";
  EXPECT_NE(train("cifar").find("recipe rlrr/vtab/cifar " + words), std::string::npos);
  EXPECT_EQ(train("kitti").find(words), std::string::npos);
}

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
  EXPECT_NE(outcome.out.find("2 of the benchmark's 19 datasets"), std::string::npos) << outcome.out;
  const std::string config = read_text(vtab.out() + "/kitti/config.toml");
  EXPECT_NE(config.find("recipe = \"rlrr/vtab/kitti\""), std::string::npos) << config;
  EXPECT_NE(config.find("weight_decay = 0.05"), std::string::npos) << config;
  const auto summary = nlohmann::json::parse(read_text(vtab.out() + "/summary.json"));
  EXPECT_NE(outcome.err.find("protocol paper, by recipe rlrr/vtab/"), std::string::npos) << outcome.err;
  EXPECT_EQ(summary["benchmark"], "vtab");
  EXPECT_EQ(summary["all"], 19);
  EXPECT_EQ(summary["protocol"], "paper");
  EXPECT_EQ(summary["failed"].size(), 0u);
  EXPECT_EQ(summary["datasets"].size(), 2u);
  EXPECT_EQ(summary["datasets"][0]["dataset"], "patch_camelyon");
  EXPECT_EQ(summary["means"].size(), 4u);

  expect_error(run(vtab.flags({})), 2, {"--out: ", "/patch_camelyon is there already", "--resume"});
  expect_error(run(vtab.flags({"--datasets", "kitti"})), 2, {"/patch_camelyon is there already"});
  const Outcome again = run(vtab.flags({"--resume", "--json"}));
  ASSERT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.json(), summary) << "nothing was left to do";
}

/// A dataset that is begun later has the settings that the suite was begun with, and the summary has all that are finished.
TEST(Suite, ResumesWithWhatItWasBegunWith) {
  const SmallVtab vtab;
  const std::vector<std::string> resume = {"suite", "vtab:" + vtab.folder.path(), "--out", vtab.out(), "--resume"};
  const auto resumed = [&](std::vector<std::string> more) {
    more.insert(more.begin(), resume.begin(), resume.end());
    return run(more);
  };
  const Outcome first = run(vtab.flags({"--recipes", "none", "--datasets", "kitti", "--method", "lora", "--rank", "4",
                                        "--protocol", "val", "--lr", "2e-3", "--flip"}));
  ASSERT_EQ(first.status, 0) << first.err;
  expect_error(resumed({"--lr", "1e-3"}), 2, {"/suite.toml began: --lr: begun with '0.002', asked for is '0.001'"});
  expect_error(resumed({"--rank", "8", "--seeds", "1,2"}), 2,
               {"--rank: begun with '4', asked for is '8'", "--seeds: begun without it, asked for is '1,2'"});
  expect_error(resumed({"--recipes", "rlrr/vtab"}), 2, {"--recipes: begun with 'none', asked for is 'rlrr/vtab'"});
  ASSERT_FALSE(fs::exists(vtab.out() + "/patch_camelyon"));
  const Outcome rest = resumed({"--lr", "0.002", "--datasets", "patch_camelyon", "--threads", "1"});  // as before, in other words
  ASSERT_EQ(rest.status, 0) << rest.err;
  EXPECT_NE(rest.out.find("\nkitti "), std::string::npos) << rest.out;
  const auto kitti = runs::read_config(vtab.out() + "/kitti/config.toml"),
             camelyon = runs::read_config(vtab.out() + "/patch_camelyon/config.toml");
  for (const auto& c : {kitti, camelyon}) {
    EXPECT_EQ(c.recipe, "");
    EXPECT_EQ(c.method, "lora");
    EXPECT_EQ(std::get<int64_t>(c.method_options.at("rank")), 4);
    EXPECT_EQ(c.protocol, "val");
    EXPECT_EQ(c.lr, 2e-3);
    EXPECT_EQ(c.epochs, 2);
    EXPECT_EQ(c.weights, vtab.model.base());
    EXPECT_TRUE(c.flip);
  }
  const auto summary = nlohmann::json::parse(read_text(vtab.out() + "/summary.json"));
  ASSERT_EQ(summary["datasets"].size(), 2u);
  EXPECT_EQ(summary["datasets"][1]["dataset"], "kitti");
  EXPECT_EQ(summary["means"].size(), 4u);
  EXPECT_EQ(rest.err.find("by recipe"), std::string::npos) << rest.err;

  const Outcome longer = resumed({"--epochs", "3"});
  ASSERT_EQ(longer.status, 0) << longer.err;
  for (const std::string name : {"kitti", "patch_camelyon"}) {
    EXPECT_EQ(nlohmann::json::parse(read_text(vtab.out() + "/" + name + "/summary.json"))["epochs"], 3) << name;
  }
  EXPECT_EQ(resumed({}).out, longer.out);
  const Outcome ahead = resumed({"--datasets", "kitti", "--epochs", "4"});
  ASSERT_EQ(ahead.status, 0) << ahead.err;
  EXPECT_NE(ahead.err.find("patch_camelyon: not in the table: it was trained for other epochs"), std::string::npos) << ahead.err;
  EXPECT_EQ(ahead.out.find("patch_camelyon"), std::string::npos) << ahead.out;
  expect_error(run({"eval", "--run", vtab.out(), "--data", "vtab:" + vtab.folder / "kitti"}), 1,
               {"holds a suite; give one of the runs in it"});
}

TEST(Suite, ResumesTheDataSetsThatWereAskedFor) {
  const SmallVtab vtab;
  const Outcome first = run(vtab.flags({"--datasets", "kitti"}));
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(run(vtab.flags({"--resume"})).out, first.out);
  EXPECT_FALSE(fs::exists(vtab.out() + "/patch_camelyon"));
  const Outcome second = run(vtab.flags({"--resume", "--datasets", "patch_camelyon"})), all = run(vtab.flags({"--resume"}));
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out, second.out);
  EXPECT_NE(all.out.find("\nkitti "), std::string::npos) << all.out;
}

/// As older programs left them, without `suite.toml`: what is there may have another protocol.
TEST(Suite, HasNoMeansOfSeveralProtocols) {
  const SmallVtab vtab;
  ASSERT_EQ(run(vtab.flags({"--datasets", "kitti", "--protocol", "last"})).status, 0);
  fs::remove(vtab.out() + "/suite.toml");
  const Outcome mixed =
      run({"suite", "vtab:" + vtab.folder.path(), "--out", vtab.out(), "--resume", "--weights", vtab.model.base(), "--model",
           kModel, "--epochs", "2", "--warmup-epochs", "0", "--cooldown-epochs", "0", "--image-size", "32"});
  ASSERT_EQ(mixed.status, 0) << mixed.err;
  EXPECT_TRUE(std::regex_search(mixed.out, std::regex("\nkitti .* last\n"))) << mixed.out;
  EXPECT_TRUE(std::regex_search(mixed.out, std::regex("\npatch_camelyon .* paper\n"))) << mixed.out;
  EXPECT_NE(mixed.out.find("no means: the protocols differ"), std::string::npos) << mixed.out;
  EXPECT_EQ(mixed.out.find("mean of"), std::string::npos) << mixed.out;
}

/// Neither bad images nor settings that one dataset cannot have end the others.
TEST(Suite, ADataSetThatFailsLeavesTheOthers) {
  const SmallVtab vtab;
  std::string lines;
  for (int i = 0; i < 4; ++i) lines += "images/train800/" + std::to_string(i) + ".png " + std::to_string(i) + "\n";
  vtab.folder.write("kitti/train800.txt", lines);
  const auto expect_failure = [&](const Outcome& outcome, const std::string& name, const std::string& other,
                                  const std::string& fault) {
    EXPECT_EQ(outcome.status, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("error: 1 of 2 datasets failed: " + name + ": "), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find(fault), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.out.find("\n" + other + " "), std::string::npos) << outcome.out;
    EXPECT_EQ(outcome.out.find("\n" + name + " "), std::string::npos) << outcome.out;
    const auto summary = nlohmann::json::parse(read_text(vtab.out() + "/summary.json"));
    ASSERT_EQ(summary["failed"].size(), 1u);
    EXPECT_EQ(summary["failed"][0]["dataset"], name);
    EXPECT_EQ(summary["datasets"].size(), 1u);
    fs::remove_all(vtab.out());
  };
  expect_failure(run(vtab.flags({"--train-samples", "10"})), "kitti", "patch_camelyon", "a subset of 10 images: must be 1 … 8");
  vtab.folder.write("patch_camelyon/images/test/1.png", "no image");
  expect_failure(run(vtab.flags({})), "patch_camelyon", "kitti", "/images/test/1.png");
}

TEST(Suite, TakesAFolderOfRecipes) {
  const SmallVtab vtab;
  for (const std::string name : {"kitti", "patch_camelyon"}) {
    vtab.folder.write("own/" + name + ".toml", "method = \"bitfit\"\nprotocol = \"last\"\n");
  }
  const Outcome outcome = run(vtab.flags({"--recipes", vtab.folder / "own/"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto config = runs::read_config(vtab.out() + "/kitti/config.toml");
  EXPECT_EQ(config.method, "bitfit");
  EXPECT_EQ(config.recipe, vtab.folder / "own/kitti.toml");
  EXPECT_EQ(run(vtab.flags({"--resume", "--recipes", vtab.folder / "own"})).out, outcome.out);
  vtab.folder.remove("own/kitti.toml");
  fs::remove_all(vtab.out());
  expect_error(run(vtab.flags({"--recipes", vtab.folder / "own"})), 1, {"own/kitti.toml", "No such file"});
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
  expect_error(run(vtab.flags({"--datasets", ","})), 2, {"--datasets: ',' names none"});
  expect_error(run(vtab.flags({"--recipes", "none", "--final-test=false"})), 2, {"--final-test: must be on"});
  expect_error(run(vtab.flags({"--recipes", "vpt/vtab"})), 2, {"method: missing", "give --method"});
  auto elsewhere = vtab.flags({});
  *std::find(elsewhere.begin(), elsewhere.end(), vtab.model.base()) = vtab.folder / "none";
  expect_error(run(elsewhere), 1, {"/none: No such file or directory"});
  fs::rename(vtab.folder / "kitti/test.txt", vtab.folder / "kitti/tests.txt");
  expect_error(run(vtab.flags({})), 1, {"/kitti: there is no list of its split 'test'"});
  fs::rename(vtab.folder / "kitti/tests.txt", vtab.folder / "kitti/test.txt");
  expect_error(run({"suite", "vtab:" + vtab.folder.path(), "--out", vtab.out(), "--resume"}), 2,
               {"--resume: " + vtab.out() + " holds no suite", "--weights"});
  expect_error(run({"train", "--out", vtab.out(), "--resume"}), 2, {"--resume: " + vtab.out() + " holds no run"});
  expect_error(run(vtab.flags({"--flip", "false"})), 2, {"--flip=false"});
  expect_error(run({"suite", "vtab:" + vtab.folder / "nowhere", "--out", vtab.out()}), 1, {"nowhere"});
  expect_error(run({"suite", "cifar:" + vtab.folder.path(), "--out", vtab.out()}), 2, {"expected vtab:ROOT or fgvc:ROOT"});
  EXPECT_FALSE(fs::exists(vtab.out()));
}

}  // namespace
}  // namespace respeft::test
