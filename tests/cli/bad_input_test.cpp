#include <limits>

#include "tests/cli/small_model.h"

namespace respeft::test {
namespace {

/// A command line that is wrong, and what the program says about it.
struct Wrong {
  std::vector<std::string> arguments;
  std::vector<std::string> words;
};

class WrongCommandLine : public testing::TestWithParam<Wrong> {};

TEST_P(WrongCommandLine, IsOneLineAndStatusTwo) {
  expect_error(run(GetParam().arguments), 2, GetParam().words);
}

INSTANTIATE_TEST_SUITE_P(
    Typos, WrongCommandLine,
    testing::Values(
        Wrong{{"pedict"}, {"unknown command 'pedict'", "did you mean 'predict'"}},
        Wrong{{"qqqqqq"}, {"unknown command 'qqqqqq'", "merge, export"}}, Wrong{{"--json", "info"}, {"--json", "respeft --help"}},
        Wrong{{"predict", "--modle", "x"}, {"unknown option '--modle'", "did you mean '--model'"}},
        Wrong{{"merge", "stray"}, {"unexpected argument 'stray'"}}, Wrong{{"eval", "-q"}, {"unknown option '-q'"}},
        Wrong{{"info", "--model", "vit_bse_patch16_224", "--method", "rlrr"}, {"vit_bse_patch16_224", "vit_base_patch16_224"}},
        Wrong{{"info", "--model", "vit_tiny_patch16_224", "--method", "rllr"}, {"'rllr'", "did you mean 'rlrr'"}},
        Wrong{{"bench", "--model", "vit_tinny_patch16_224"}, {"vit_tiny_patch16_224"}},
        Wrong{{"bench", "--method", "lorra"}, {"did you mean 'lora'"}},
        Wrong{{"bench", "--method", "rlrr", "--rank", "4"}, {"method rlrr has no option --rank", "--init"}},
        Wrong{{"bench", "--method", "lora", "--rank", "many"}, {"--rank", "whole number", "'many'"}},
        Wrong{{"bench", "--method", "rlrr", "--residual", "maybe"}, {"--residual", "must be true or false", "'maybe'"}},
        Wrong{{"bench", "--method", "rlrr", "--targets", "q,vv"}, {"vv"}},
        Wrong{{"export", "--out", "x.pt", "--format", "torchscrpt"}, {"did you mean 'torchscript'"}}));

INSTANTIATE_TEST_SUITE_P(
    Values, WrongCommandLine,
    testing::Values(Wrong{{"bench", "--steps", "0"}, {"--steps"}}, Wrong{{"bench", "--batch-size", "-3"}, {"--batch-size"}},
                    Wrong{{"bench", "--threads", "-1"}, {"--threads"}}, Wrong{{"bench", "--steps", "ten"}, {"--steps", "ten"}},
                    Wrong{{"bench", "--steps"}, {"--steps"}}, Wrong{{"bench", "--steps", "1", "--steps", "2"}, {"--steps"}},
                    Wrong{{"predict"}, {"nothing to predict"}}, Wrong{{"predict", "--pixels", "x"}, {"--logits"}},
                    Wrong{{"predict", "cat.jpg"}, {"which model", "--model"}},
                    Wrong{{"predict", "cat.jpg", "--model", "vit_tiny_patch16_224"}, {"--weights"}},
                    Wrong{{"merge", "--model", "vit_tiny_patch16_224"}, {"--out"}}, Wrong{{"export"}, {"--out"}},
                    Wrong{{"bench", "--config", "no/such.toml"}, {"no/such.toml", "No such file"}}));

/// An unset shell variable leaves an empty value: never another file, or none, without a word.
class EmptyPath : public testing::TestWithParam<Wrong> {};

TEST_P(EmptyPath, IsAnErrorThatNamesTheFlag) {
  expect_error(run(GetParam().arguments), 2, {GetParam().words[0] + ": its value is empty"});
}

INSTANTIATE_TEST_SUITE_P(
    Flags, EmptyPath,
    testing::Values(Wrong{{"predict", "--weights", "w", "--adapter", "", "cat.jpg"}, {"--adapter"}},
                    Wrong{{"predict", "--weights", "w", "--adapter=", "cat.jpg"}, {"--adapter"}},
                    Wrong{{"predict", "--run", "", "cat.jpg"}, {"--run"}},
                    Wrong{{"predict", "--torchscript", "", "cat.jpg"}, {"--torchscript"}},
                    Wrong{{"predict", "--pixels", "", "--logits", "l"}, {"--pixels"}},
                    Wrong{{"predict", "--pixels", "p", "--logits", ""}, {"--logits"}}, Wrong{{"predict", ""}, {"IMAGE"}},
                    Wrong{{"eval", "--weights", "", "--adapter", "a"}, {"--weights"}},
                    Wrong{{"eval", "--run", "r", "--data", ""}, {"--data"}},
                    Wrong{{"merge", "--run", "r", "--out", ""}, {"--out"}},
                    Wrong{{"export", "--run", "r", "--out", ""}, {"--out"}}, Wrong{{"info", ""}, {"FILE"}},
                    Wrong{{"bench", "--config", ""}, {"--config"}}, Wrong{{"bench", "--config="}, {"--config"}},
                    Wrong{{"doctor", "--weights", "", "--model", "vit_tiny_patch16_224"}, {"--weights"}},
                    Wrong{{"inspect", "--run", ""}, {"--run"}}, Wrong{{"train", "--weights", ""}, {"--weights"}},
                    Wrong{{"train", "--data", ""}, {"--data"}}, Wrong{{"train", "--out", "", "--resume"}, {"--out"}},
                    Wrong{{"train", "--recipe", ""}, {"--recipe"}}, Wrong{{"suite", "vtab:v", "--recipes", ""}, {"--recipes"}},
                    Wrong{{"suite", ""}, {"benchmark"}}, Wrong{{"recipes", ""}, {"recipe"}}));

/// Without quotes, an unset variable leaves no value at all.
TEST(MissingValue, IsNotTheNextFlag) {
  expect_error(run({"merge", "--weights", "w", "--adapter", "--out", "o"}), 2, {"--adapter: its value is missing", "--out"});
}

/// An empty value of a flag that names no file is given as such, and does not take the next argument.
TEST(EmptyValue, AfterAnEqualsSignStaysEmpty) {
  expect_error(run({"train", "--model=", "--dry-run", "--data", "fashion-mnist:d", "--out", "o"}), 2, {"model: missing"});
}

TEST(WrongConfig, NamesFileKeyAndWhatWasMeant) {
  const Folder folder;
  const std::string path = folder / "c.toml";
  write_text(path, "stesp = 3\n");
  expect_error(run({"bench", "--config", path}), 2, {path + ":", "unknown key 'stesp'", "did you mean 'steps'"});
  write_text(path, "model = \"x\"\nsteps = = 3\n");
  expect_error(run({"bench", "--config", path}), 2, {path + ":2"});
  write_text(path, "steps = \"ten\"\n");
  expect_error(run({"bench", "--config", path}), 2, {"steps", "ten"});
  write_text(path, "json = \"perhaps\"\n");
  expect_error(run({"bench", "--config", path}), 2, {"json", "perhaps"});
  write_text(path, "model = \"vit_tiny_patch16_224\"\n[more]\nsteps = 1\nmodel = \"x\"\n");
  expect_error(run({"bench", "--config", path}), 2, {path + ":4: model is given twice"});
  write_text(path, "steps = 2024-05-06\n");
  expect_error(run({"bench", "--config", path}), 2, {path + ":1: steps: must be"});
}

/// One reader: a file's errors are the same for a command's flags and for a training's settings, with the line.
TEST(WrongConfig, OfATrainingNamesTheLine) {
  const Folder folder;
  const std::string path = folder / "run.toml", start = "model = \"vit_tiny_patch16_224\"\ndata = \"fashion-mnist:d\"\n";
  const auto error = [&](const std::string& line, const std::vector<std::string>& more = {}) {
    write_text(path, start + line + "\n");
    std::vector<std::string> arguments = {"train", "--dry-run", "--out", folder / "out", "--config", path};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  expect_error(error("lr = -1"), 2, {path + ":3: lr: must be above 0, not -1"});
  expect_error(error("epochs = \"9\""), 2, {path + ":3: epochs: must be a whole number"});
  expect_error(error("lrr = 1"), 2, {path + ":3: unknown key 'lrr'", "did you mean 'lr'"});
  expect_error(error("rank = 4"), 2, {path + ":3: unknown key 'rank'"});  // rlrr has none
  expect_error(error("rank = 0", {"--method", "lora"}), 2, {path + ":3: rank: must be at least 1, not 0"});
  expect_error(error("flip = \"perhaps\""), 2, {path + ":3: flip: must be true or false"});
  EXPECT_EQ(error("flip = \"on\"\nzero-head = false\nmean = [0, 0.5, 1]").status, 0);
  const auto settings =
      run({"train", "--dry-run", "--json", "--out", folder / "out", "--config", path, "--zero-head=yes"}).json();
  EXPECT_EQ(settings["flip"], "true");
  EXPECT_EQ(settings["zero_head"], "true") << "a flag wins";
  EXPECT_EQ(settings["mean"], "0,0.5,1");
}

TEST(Switches, HaveTheSpellingsOfAllTrueOrFalseOptions) {
  const std::vector<std::string> flags = {"train",  "--dry-run",       "--json", "--model", "vit_tiny_patch16_224",
                                          "--data", "fashion-mnist:d", "--out",  "o"};
  const auto with = [&](const std::string& flag) {
    auto arguments = flags;
    arguments.push_back(flag);
    return run(arguments);
  };
  for (const char* yes : {"--flip", "--flip=true", "--flip=on", "--flip=yes", "--flip=1"})
    EXPECT_EQ(with(yes).json()["flip"], "true") << yes;
  for (const char* no : {"--zero-head=false", "--zero-head=off", "--zero-head=no", "--zero-head=0"})
    EXPECT_EQ(with(no).json()["zero_head"], "false") << no;
  expect_error(with("--flip=maybe"), 2, {"--flip: must be true or false, not 'maybe'"});
  expect_error(with("--residual=maybe"), 2, {"--residual: must be true or false, not 'maybe'"});
  EXPECT_EQ(with("--residual=no").json()["method: residual"], "false");
}

TEST(DefaultSchedule, TrainsFromTheFirstEpoch) {
  const auto settings =
      run({"train", "--dry-run", "--json", "--model", "vit_tiny_patch16_224", "--data", "fashion-mnist:d", "--out", "o"}).json();
  EXPECT_EQ(settings["schedule_lag"], "false");
  EXPECT_EQ(settings["warmup_lr"], "-1");                              // lr / (warmup_epochs + 1)
  for (const char* recipe : {"rlrr/vtab/cifar", "fact/vtab/cifar"}) {  // whose code has both
    const auto published = run({"recipes", recipe, "--json"}).json()["settings"];
    EXPECT_EQ(published["schedule_lag"], "true") << recipe;
    EXPECT_EQ(published["warmup_lr"], std::string(recipe).starts_with("rlrr") ? "1e-07" : "1e-06") << recipe;
  }
}

/// Runs a command that must fail, leave nothing new in the folder, and say one line.
void expect_clean_failure(const SmallModel& small, const std::vector<std::string>& arguments, int status,
                          const std::vector<std::string>& words) {
  const auto before = small.folder.names();
  expect_error(run(arguments), status, words);
  EXPECT_EQ(small.folder.names(), before);
}

std::vector<std::string> predict(const SmallModel& small, const std::string& pixels) {
  return {"predict",   "--weights",     small.base(),
          "--adapter", small.adapter(), "--pixels",
          pixels,      "--logits",      small.folder / "logits.safetensors"};
}

TEST(BadFiles, MissingFilesAreNamed) {
  const SmallModel small;
  const std::string none = small.folder / "none.safetensors", out = small.folder / "out";
  expect_clean_failure(small, predict(small, none), 1, {none, "No such file"});
  expect_clean_failure(small, {"merge", "--weights", none, "--adapter", small.adapter(), "--out", out}, 1,
                       {none, "No such file"});
  expect_clean_failure(small, {"merge", "--weights", small.base(), "--adapter", none, "--out", out}, 1, {none, "No such file"});
  expect_clean_failure(small, {"predict", "--torchscript", none, "cat.jpg"}, 1, {none, "No such file"});
  expect_clean_failure(small, {"predict", "--run", none, "cat.jpg"}, 1, {none});
  expect_clean_failure(small, {"predict", "--weights", small.base(), "--adapter", small.adapter(), none}, 1, {none});
  expect_clean_failure(small, {"eval", "--weights", small.base(), "--adapter", small.adapter(), "--data", "imagefolder:" + none},
                       1, {none});
  expect_clean_failure(small, {"info", none}, 1, {none, "No such file"});
}

TEST(BadFiles, TruncatedSafetensorsAreNamed) {
  const SmallModel small;
  const std::string cut = small.folder / "cut.safetensors";
  const std::string whole = read_text(small.base());
  for (const size_t length : {size_t{0}, size_t{5}, size_t{100}, whole.size() - 1}) {
    write_text(cut, whole.substr(0, length));
    expect_clean_failure(
        small, {"merge", "--weights", cut, "--adapter", small.adapter(), "--any-base", "--out", small.folder / "out"}, 1, {cut});
    expect_clean_failure(small, predict(small, cut), 1, {cut});
  }
}

TEST(BadFiles, ANonTorchScriptFileIsNamed) {
  const SmallModel small;
  const std::string logits = small.folder / "logits.safetensors";
  expect_clean_failure(small, {"predict", "--torchscript", small.base(), "--pixels", small.pixels(), "--logits", logits}, 1,
                       {small.base(), "not a TorchScript file"});
}

TEST(BadPixels, AreRefused) {
  const SmallModel small;
  const std::string bad = small.folder / "bad.safetensors";
  const auto expect = [&](const at::Tensor& pixels, const std::vector<std::string>& words) {
    formats::save_safetensors(bad, {{"pixels", pixels}});
    expect_clean_failure(small, predict(small, bad), 1, words);
  };
  at::Tensor nan = small.images.clone();
  nan[2][1][3][4] = std::numeric_limits<float>::quiet_NaN();
  expect(nan, {bad, "not finite", "image 2"});
  at::Tensor infinite = small.images.clone();
  infinite[4][0][0][0] = -std::numeric_limits<float>::infinity();
  expect(infinite, {bad, "not finite", "image 4"});
  expect(at::zeros({2, 3, kSize, kSize + 1}), {bad, "[2, 3, 32, 33]", "[N, 3, 32, 32]"});
  expect(at::zeros({2, 1, kSize, kSize}), {bad, "[2, 1, 32, 32]"});
  expect(at::zeros({3, kSize, kSize}), {bad, "[3, 32, 32]"});
  expect(at::zeros({0, 3, kSize, kSize}), {bad, "[0, 3, 32, 32]"});
  expect(at::zeros({1, 3, kSize, kSize}, at::kHalf), {bad, "float32"});
  formats::save_safetensors(bad, {{"images", small.images}});
  expect_clean_failure(small, predict(small, bad), 1, {bad, "pixels"});
}

TEST(BadOutput, AMissingFolderIsNoticedBeforeTheWork) {
  const SmallModel small;
  const std::string out = small.folder / "none/out.safetensors";
  for (const std::string command : {"merge", "export"}) {
    expect_clean_failure(small, {command, "--weights", small.base(), "--adapter", small.adapter(), "--out", out}, 1,
                         {out, "none"});
  }
  auto arguments = predict(small, small.pixels());
  arguments.back() = out;
  expect_clean_failure(small, arguments, 1, {out});
}

TEST(Merge, UnknownWaysAreRefusedByTheNamesThereAre) {
  const SmallModel small;
  expect_clean_failure(
      small,
      {"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", small.folder / "x", "--method", "regresion"}, 2,
      {"--method: unknown way to merge 'regresion'; did you mean 'regression'?"});
}

TEST(BadOutput, TheInputIsNotOverwritten) {
  const SmallModel small;
  const std::string before = read_text(small.base());
  expect_clean_failure(small, {"merge", "--weights", small.base(), "--adapter", small.adapter(), "--out", small.base()}, 2,
                       {"overwrite", small.base()});
  EXPECT_EQ(read_text(small.base()), before);
  auto arguments = predict(small, small.pixels());
  for (const auto& input : {small.pixels(), small.adapter()}) {
    arguments.back() = input;
    expect_clean_failure(small, arguments, 2, {"--logits would overwrite " + input});
  }
}

TEST(BadOutput, AFullDeviceIsNamedAndStays) {
  const SmallModel small;
  const std::vector<std::string> flags = {"--weights", small.base(), "--adapter", small.adapter(), "--out", "/dev/full"};
  for (const std::string command : {"merge", "export"}) {
    auto arguments = flags;
    arguments.insert(arguments.begin(), command);
    expect_clean_failure(small, arguments, 1, {"/dev/full"});
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  }
}

/// No file may grow beyond 4 MiB here, as on a device that is nearly full; the system answers "File too large".
TEST(BadOutput, AFullDeviceLeavesNothingBehind) {
  const SmallModel small;
  const auto before = small.folder.names();
  const std::string out = small.folder / "out";
  for (const std::string command : {"merge", "export --format torchscript", "export --format timm"}) {
    const Outcome outcome = shell("ulimit -f 4096; trap '' XFSZ; \"$RESPEFT\" " + command + " --weights " + small.base() +
                                  " --adapter " + small.adapter() + " --out " + out);
    expect_error(outcome, 1, {out + ": File too large"});
    EXPECT_EQ(small.folder.names(), before) << command;
  }
}

TEST(Contradictions, AreNamed) {
  const SmallModel small;
  const auto with = [&](std::vector<std::string> more) {
    auto arguments = predict(small, small.pixels());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  expect_clean_failure(small, with({"--num-classes", "3"}), 2, {"--num-classes 3", "7"});
  expect_clean_failure(small, with({"--model", "vit_small_patch16_224"}), 2, {"vit_small_patch16_224", kModel});
  expect_clean_failure(small, with({"--torchscript", "x.pt"}), 2, {"--torchscript"});
}

}  // namespace
}  // namespace respeft::test
