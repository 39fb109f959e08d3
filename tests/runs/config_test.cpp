#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <stdexcept>

#include <respeft/runs/config.h>

namespace respeft::runs {
namespace {

/// Gives a member another value than its default, different for each field.
void change(const FieldInfo& info, std::string& value, int&) {
  value = info.choices.empty() ? "a \"quoted\" \\ value\nof " + info.name : info.choices.back();
}
void change(const FieldInfo&, bool& value, int&) {
  value = !value;
}
void change(const FieldInfo&, int64_t& value, int& next) {
  value += ++next;
}
void change(const FieldInfo& info, double& value, int& next) {
  value = value == info.maximum ? value / 2 : std::min(info.maximum, value * 1.1 + 1e-7 / 3 * ++next);
}
void change(const FieldInfo& info, std::array<double, 3>& value, int& next) {
  for (auto& v : value) change(info, v, next);
}

TrainConfig every_field_changed() {
  TrainConfig config;
  config.warmup_lr = 0.0;  // -1 stands for a value
  int next = 0;
  for (const auto& field : config.fields()) std::visit([&](auto* member) { change(field.info, *member, next); }, field.member);
  config.protocol = "paper";
  config.schedule_by = "step";
  config.method = "rlrr";
  config.method_options = {{"residual", false}};
  return config;
}

TrainConfig minimal() {
  TrainConfig config;
  config.model = "vit_tiny_patch16_224";
  config.data = "fashion-mnist:somewhere";
  config.out = "runs/a";
  return config;
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "(no error)";
}

/// Bytes of the listed members. Members are stored one after another, so a member that is not in the list is missing from this
/// sum (bools are padded to 8 bytes).
size_t listed_bytes(const Fields& fields) {
  size_t bytes = 0;
  for (const auto& field : fields) {
    std::visit([&](const auto* member) { bytes += (sizeof(*member) + 7) / 8 * 8; }, field.member);
    EXPECT_GT(field.info.help.size(), 10U) << field.info.name;
  }
  return bytes;
}

TEST(TrainConfig, TheListHasEveryMember) {
  TrainConfig config;
  EXPECT_EQ(listed_bytes(config.fields()) + sizeof(config.method_options), sizeof(TrainConfig)) << config.fields().size();
  data::ImageOptions images;
  EXPECT_EQ(listed_bytes(images.fields()), sizeof(images));
  train::TrainerOptions trainer;
  EXPECT_EQ(listed_bytes(trainer.fields()), sizeof(trainer));
  const auto names = config.fields().names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), names.size()) << "a name is given twice";
}

TEST(TrainConfig, RoundTripsThroughToml) {
  const TrainConfig changed = every_field_changed(), defaults;
  const TrainConfig read = parse_config(to_toml(changed), "test.toml");
  EXPECT_EQ(read, changed);
  const auto before = describe(defaults), after = describe(read);
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].first == "method" || before[i].first == "task") continue;  // a task is the only one
    EXPECT_NE(before[i].second, after[i].second) << before[i].first;
  }
  EXPECT_EQ(parse_config(to_toml(defaults), "test.toml"), defaults);
}

TEST(TrainConfig, RoundTripsThroughText) {
  const TrainConfig changed = every_field_changed();
  TrainConfig read;
  read.method_options = changed.method_options;
  for (const auto& [name, text] : describe(changed)) {
    if (name.rfind("method: ", 0) != 0) set_field(read, name, text);
  }
  EXPECT_EQ(read, changed);
}

TEST(TrainConfig, TomlErrorsNameFileLineAndKey) {
  const auto error = [](const std::string& toml) { return error_of([&] { parse_config(toml, "run.toml"); }); };
  EXPECT_EQ(error("epochs = 3\n\nlearning_rate = 1\nbatchsize = 8\n").substr(0, 11), "run.toml:3:");
  EXPECT_EQ(error("batchsize = 8\n"), "run.toml:1: unknown key 'batchsize'; did you mean 'batch_size'?");
  EXPECT_EQ(error("[training]\nlr = -1.0\n"), "run.toml:2: lr: must be above 0, not -1");
  EXPECT_EQ(error("epochs = \"9\"\n"), "run.toml:1: epochs: must be a whole number");
  EXPECT_EQ(error("epochs = 9.5\n"), "run.toml:1: epochs: must be a whole number");
  EXPECT_EQ(error("label_smoothing = 1.5\n"), "run.toml:1: label_smoothing: must be at most 1, not 1.5");
  EXPECT_EQ(error("lr = nan\n"), "run.toml:1: lr: must be a finite number, not nan");
  EXPECT_EQ(error("protocol = \"papr\"\n"),
            "run.toml:1: protocol: must be one of last, val, paper, honest, not 'papr'; did you mean 'paper'?");
  EXPECT_EQ(error("mean = [0.5, 0.5]\n"), "run.toml:1: mean: must be three numbers [R, G, B] or a name");
  EXPECT_EQ(error("seed = 1\n[again]\nseed = 2\n"), "run.toml:3: seed is given twice");
  EXPECT_EQ(error("lr = = 1\n").substr(0, 11), "run.toml:1:");
  EXPECT_EQ(error("method = \"\"\nlrr = 1\n"), "run.toml:2: unknown key 'lrr'; did you mean 'lr'?");
  EXPECT_EQ(error("method = \"rlrr\"\n[method_options]\nresiduals = true\n"),
            "run.toml:3: unknown key 'residuals'; did you mean 'residual'?");
  EXPECT_EQ(error("[method_options]\nresidual = 3\n"), "run.toml:2: residual: must be true or false");
  EXPECT_EQ(error("flip = \"maybe\"\n"), "run.toml:1: flip: must be true or false, not 'maybe'");
  EXPECT_EQ(error("method = \"lora\"\nrank = 0\n"), "run.toml:2: rank: must be at least 1, not 0");
}

TEST(TrainConfig, SwitchesAreReadInEverySpelling) {
  for (const char* yes : {"true", "on", "yes", "1"}) {
    TrainConfig config = parse_config(std::string("flip = \"") + yes + "\"\n", "run.toml");
    EXPECT_TRUE(config.flip) << yes;
    config.flip = false;
    set_field(config, "flip", yes);
    EXPECT_TRUE(config.flip) << yes;
  }
  for (const char* no : {"false", "off", "no", "0"}) {
    TrainConfig config;
    set_field(config, "zero_head", no);
    EXPECT_FALSE(config.zero_head) << no;
    EXPECT_NE(to_toml(config).find("\nzero_head = false\n"), std::string::npos);
  }
}

TEST(TrainConfig, NamesOfNormalizations) {
  TrainConfig config = parse_config("mean = \"imagenet\"\nstd = [0.1, 0.2, 1]\n", "run.toml");
  EXPECT_EQ(config.mean, (std::array<double, 3>{0.485, 0.456, 0.406}));
  EXPECT_EQ(config.std, (std::array<double, 3>{0.1, 0.2, 1.0}));
  set_field(config, "std", "imagenet");
  EXPECT_EQ(config.std, (std::array<double, 3>{0.229, 0.224, 0.225}));
  EXPECT_EQ(error_of([&] { set_field(config, "std", "0.1,0,0.1"); }), "std: must be above 0, not 0");
  EXPECT_EQ(error_of([&] { set_field(config, "mean", "gray"); }), "mean: must be three numbers R,G,B or a name, not 'gray'");
}

/// A configuration as version 0.1.0 wrote it: without the fields that are newer, which then have their defaults.
TEST(TrainConfig, ReadsFilesOfVersion010) {
  std::string toml = to_toml(resolve(minimal()));
  for (const char* newer : {"schedule_by", "warmup_steps", "eval_every_steps", "checkpoint_every_steps"}) {
    const size_t key = toml.find(std::string("\n") + newer + " = ");
    ASSERT_NE(key, std::string::npos) << newer;
    toml.erase(key, toml.find('\n', key + 1) - key);
  }
  const std::string lag = "schedule_lag = false", start = "warmup_lr = -1.0";
  toml.replace(toml.find(lag), lag.size(), "schedule_lag = true");
  toml.replace(toml.find(start), start.size(), "warmup_lr = 1e-07");
  TrainConfig expected = resolve(minimal());
  expected.schedule_lag = true;
  expected.warmup_lr = 1e-7;
  EXPECT_EQ(parse_config(toml, "config.toml"), expected);
}

TEST(TrainConfig, TheFirstEpochOfTheDefaultWarmUpTrains) {
  TrainConfig config = resolve(minimal());
  EXPECT_FALSE(config.schedule_lag);
  EXPECT_EQ(config.warmup_epochs, 10);
  EXPECT_DOUBLE_EQ(config.warmup_start(config.warmup_epochs),
                   config.lr / 11);  // the line from 0 to lr has its second point there
  config.warmup_lr = 1e-7;
  EXPECT_EQ(config.warmup_start(config.warmup_epochs), 1e-7);
}

TEST(TrainConfig, TextErrors) {
  TrainConfig config;
  EXPECT_EQ(error_of([&] { set_field(config, "epochs", "9x"); }), "epochs: must be a whole number, not '9x'");
  EXPECT_EQ(error_of([&] { set_field(config, "lr", ""); }), "lr: must be a number, not ''");
  EXPECT_EQ(error_of([&] { set_field(config, "flip", "maybe"); }), "flip: must be true or false, not 'maybe'");
  EXPECT_EQ(error_of([&] { set_field(config, "epoch", "1"); }), "unknown setting 'epoch'; did you mean 'epochs'?");
  EXPECT_EQ(config, TrainConfig());
}

TEST(TrainConfig, ResolveFillsIn) {
  const TrainConfig config = resolve(minimal());
  EXPECT_EQ(config.image_size, 224);
  EXPECT_EQ(config.warmup_epochs, 10);
  EXPECT_EQ(config.data.rfind("fashion-mnist:/", 0), 0U) << config.data;
  EXPECT_EQ(config.out.front(), '/');
  EXPECT_TRUE(config.method_options.count("residual"));
  EXPECT_EQ(resolve(config), config);
  EXPECT_EQ(resolve(parse_config(to_toml(config), "config.toml")), config);
}

TEST(TrainConfig, ResolveRefuses) {
  const auto error = [](const std::function<void(TrainConfig&)>& spoil) {
    TrainConfig config = minimal();
    spoil(config);
    return error_of([&] { resolve(config); });
  };
  EXPECT_EQ(error([](auto&) {}), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.model = ""; }).rfind("model: missing", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.out = ""; }).rfind("out: missing", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.method = ""; }),
            "method: missing; the recipe's own method is not in this program: give --method");
  EXPECT_EQ(error([](auto& c) { c.seeds = "1,2", c.final_test = false; }).rfind("final_test: must be on with seeds", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.final_test = false; }), "(no error)");
  EXPECT_NE(error([](auto& c) { c.decay = "matrix"; }).find("must be one of names, matrices, all"), std::string::npos);
  EXPECT_EQ(error([](auto& c) { c.batch_size = 0; }), "batch_size: must be at least 1, not 0");
  EXPECT_EQ(error([](auto& c) { c.min_lr = 1.0; }), "min_lr: must not be above lr = 0.001, not 1");
  EXPECT_EQ(error([](auto& c) { c.epochs = 5, c.warmup_epochs = 6; }), "warmup_epochs: must not be above epochs = 5, not 6");
  EXPECT_EQ(error([](auto& c) { c.protocol = "val", c.eval_every = 0; }).rfind("eval_every:", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.protocol = "honest", c.eval_every = 0; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.protocol = "honest", c.final_test = false; }).rfind("protocol: 'honest' itself sets", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.protocol = "paper", c.final_test = false; }).rfind("final_test: must be on", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.protocol = "val", c.train_split = "trainval"; }).rfind("train_split: not trainval", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.grid = "lr=1,2"; }).rfind("grid: only with protocol = honest", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.protocol = "honest", c.grid = "lr=1,-2"; }), "lr: must be above 0, not -2");
  EXPECT_EQ(error([](auto& c) { c.protocol = "honest", c.grid = "lr=1,1e-9"; }),
            "min_lr: must not be above lr = 1e-09, not 1e-08");
  EXPECT_EQ(error([](auto& c) { c.warmup_lr = -0.5; }).rfind("warmup_lr: must be at least 0, or -1", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.warmup_steps = 10; }).rfind("warmup_steps: only with schedule_by = step", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.schedule_by = "step", c.warmup_steps = 10; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.schedule_by = "step", c.schedule_lag = true; }).rfind("schedule_lag: only with", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.seeds = "1,1"; }), "seeds: 1 is given twice");
  EXPECT_EQ(error([](auto& c) { c.cutmix = 1.0, c.batch_size = 33; }),
            "batch_size: must be even with mixup or cutmix, where each image of a batch has a partner, not 33");
  EXPECT_EQ(error([](auto& c) { c.mixup = -0.5; }), "mixup: must be at least 0, not -0.5");
  EXPECT_EQ(error([](auto& c) { c.ema_decay = 1.0; }).rfind("ema_decay: must be below 1", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.auto_augment = "rand-m9-mst0.5"; }),
            "auto_augment: RandAugment 'rand-m9-mst0.5': unknown section 'mst'; did you mean 'mstd'?");
  EXPECT_EQ(error([](auto& c) { c.random_erasing = 0.25, c.random_erasing_mode = "const"; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.resize_size = 256, c.random_crop = true; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.resize_mode = "shortest", c.random_crop = true; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.resize_size = 200; }).rfind("resize_size: 200 pixels do not hold the 224 × 224", 0), 0U);
  EXPECT_EQ(error([](auto& c) { c.random_resized_crop = 0.08; }), "(no error)");
  EXPECT_EQ(error([](auto& c) { c.random_resized_crop = 1.5; }), "random_resized_crop: must be at most 1, not 1.5");
  EXPECT_EQ(error([](auto& c) {
              c.resize_size = 256, c.random_crop = true, c.random_resized_crop = 0.5;
            }).rfind("random_crop: not with", 0),
            0U);
  for (const int64_t size : {0, 224})
    EXPECT_EQ(error([&](auto& c) { c.resize_size = size, c.random_crop = true; }).rfind("random_crop: images are resized to", 0),
              0U);
  EXPECT_NE(error([](auto& c) { c.random_erasing_mode = "pixels"; }).find("did you mean 'pixel'"), std::string::npos);
  EXPECT_NE(error([](auto& c) { c.method = "rlr"; }).find("did you mean 'rlrr'"), std::string::npos);
  EXPECT_NE(error([](auto& c) { c.model = "vit_tyny_patch16_224"; }).find("vit_tiny_patch16_224"), std::string::npos);
}

TEST(TrainConfig, Conflicts) {
  const TrainConfig started = resolve(minimal());
  TrainConfig asked = started;
  asked.epochs = 200;
  asked.threads = 3;
  asked.workers = 4;
  EXPECT_TRUE(conflicts(started, asked).empty());
  asked.lr = 3e-3;
  asked.epochs = 50;
  const auto lines = conflicts(started, asked);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[0], "lr: the run was started with '0.001', asked for is '0.003'");
  EXPECT_EQ(lines[1].rfind("epochs: ", 0), 0U);
  TrainConfig honest = started;
  honest.protocol = "honest";
  asked = honest;
  asked.epochs = 200;
  ASSERT_EQ(conflicts(honest, asked).size(), 1U);
  EXPECT_EQ(conflicts(honest, asked)[0],
            "epochs: with protocol = honest, a run that was started with 100 cannot go on with others: 200");
  TrainConfig filled_in = started;
  filled_in.train_split = "trainval";
  EXPECT_TRUE(conflicts(filled_in, started).empty()) << "left open, as when it was started";
  asked = started;
  asked.train_split = "train";
  EXPECT_EQ(conflicts(filled_in, asked).size(), 1U);
  asked = started;
  asked.method_options["residual"] = false;
  EXPECT_EQ(conflicts(started, asked).size(), 1U);
}

}  // namespace
}  // namespace respeft::runs
