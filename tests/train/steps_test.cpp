// Work between the steps of an epoch: the schedule, evaluations and checkpoints; and what a checkpoint keeps.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include <respeft/train/schedule.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/train/problem.h"

namespace respeft::train {
namespace {

using respeft::test::expect_error;
using test::make_options;
using test::make_problem;
using test::Problem;
using test::TrainingOptions;

/// Keeps every record, and every checkpoint after a round trip through a file.
class Keeper : public Observer {
 public:
  void epoch(const EpochRecord& record, int64_t) override { records.push_back(record); }
  void checkpoint(const Trainer& trainer) override {
    save_checkpoint(folder_ / "state.safetensors", trainer.checkpoint());
    checkpoints.push_back(load_checkpoint(folder_ / "state.safetensors"));
    for (auto& [name, tensor] : checkpoints.back().tensors) tensor = tensor.clone();
    positions.emplace_back(trainer.progress().steps, trainer.progress().pending.has_value());
  }

  std::vector<EpochRecord> records;
  std::vector<Checkpoint> checkpoints;
  std::vector<std::pair<int64_t, bool>> positions;  ///< steps, and whether an evaluation is pending

 private:
  respeft::test::Folder folder_;
};

/// Without times.
EpochRecord timeless(EpochRecord record) {
  record.seconds = record.data_wait_seconds = 0.0;
  if (record.evaluation) record.evaluation->seconds = 0.0;
  return record;
}

TEST(ScheduleBySteps, EveryStepHasItsOwnRate) {
  TrainingOptions options = make_options();
  options.epochs = 3;
  options.schedule_by = "step";
  options.warmup_steps = 2;
  options.warmup_lr = 1e-7;
  options.schedule_lag = false;
  Problem problem = make_problem(24);  // 4 steps an epoch
  Keeper keeper;
  Trainer trainer = problem.trainer(options, keeper);
  while (!trainer.done()) trainer.run_epoch();
  const CosineSchedule expected{0.1, 1e-7, 1e-8, 12, 2, false, false};
  ASSERT_EQ(keeper.records.size(), 3U);
  for (int64_t epoch = 0; epoch < 3; ++epoch)
    EXPECT_DOUBLE_EQ(keeper.records[static_cast<size_t>(epoch)].lr, expected.at(4 * epoch + 3));
}

TEST(ScheduleBySteps, EqualsEpochsOfOneStep) {
  TrainingOptions by_epoch = make_options(), by_step = make_options();
  by_epoch.epochs = by_step.epochs = 10;
  by_epoch.warmup_epochs = by_step.warmup_epochs = 2;
  by_step.schedule_by = "step";
  Problem a = make_problem(6), b = make_problem(6);
  Observer observer;
  Trainer first = a.trainer(by_epoch, observer), second = b.trainer(by_step, observer);
  while (!first.done()) EXPECT_EQ(first.run_epoch().lr, second.run_epoch().lr);
  EXPECT_TRUE(at::equal(a.layer->weight, b.layer->weight));
}

TEST(ScheduleBySteps, RefusesWhatContradictsIt) {
  Problem problem = make_problem(24);
  Observer observer;
  TrainingOptions options = make_options();
  options.warmup_steps = 2;
  expect_error<std::invalid_argument>([&] { problem.trainer(options, observer); }, {"warmup_steps", "schedule_by"});
  options.schedule_by = "step";
  options.warmup_steps = 9;
  expect_error<std::invalid_argument>([&] { problem.trainer(options, observer); }, {"warmup_steps", "8 steps of 2 epochs", "9"});
  options.schedule_by = "hour";
  expect_error<std::invalid_argument>([&] { problem.trainer(options, observer); }, {"schedule_by", "hour"});
}

TEST(EvaluationBySteps, ComesBesidesThatOfEpochs) {
  TrainingOptions options = make_options();
  options.eval_every_steps = 3;
  Problem problem = make_problem(24);  // 4 steps an epoch
  Problem undisturbed = make_problem(24);
  Keeper keeper, other;
  Trainer trainer = problem.trainer(options, keeper);
  while (!trainer.done()) trainer.run_epoch();
  std::vector<std::pair<int64_t, int64_t>> places;
  for (const auto& record : keeper.records) places.emplace_back(record.epoch, record.step);
  EXPECT_EQ(places, (std::vector<std::pair<int64_t, int64_t>>{{1, 3}, {1, 0}, {2, 6}, {2, 0}}));
  for (const auto& record : keeper.records) EXPECT_TRUE(record.evaluation.has_value());
  options.eval_every_steps = 0;
  Trainer plain = undisturbed.trainer(options, other);
  while (!plain.done()) plain.run_epoch();
  EXPECT_TRUE(at::equal(problem.layer->weight, undisturbed.layer->weight));
  EXPECT_EQ(timeless(keeper.records[1]), timeless(other.records[0]));
  EXPECT_EQ(timeless(keeper.records[3]), timeless(other.records[1]));
}

TEST(EvaluationBySteps, AnEvaluationInsideAnEpochMayBeChosen) {
  TrainingOptions options = make_options();
  options.epochs = 12;
  options.lr = 1.0;
  options.protocol = "paper";
  options.eval_every_steps = 1;
  Problem problem = make_problem(24);
  const Problem other = make_problem(40);
  problem.job.test = test::source(other.inputs, other.labels);
  Keeper keeper;
  Trainer trainer = problem.trainer(options, keeper);
  while (!trainer.done()) trainer.run_epoch();
  const Outcome outcome = trainer.finish();
  const EpochRecord* best = &keeper.records.front();
  for (const auto& record : keeper.records) {
    if (record.evaluation->metrics.at("accuracy") > best->evaluation->metrics.at("accuracy")) best = &record;
  }
  ASSERT_GT(best->step, 0) << "the best must be inside an epoch, or this test shows nothing";
  EXPECT_EQ(outcome.chosen, *best);
  EXPECT_EQ(trainer.evaluate(*problem.job.test, "test").metrics, best->evaluation->metrics);
}

/// Everything that draws random numbers or carries state from step to step.
TrainingOptions busy_options(const std::string& protocol) {
  TrainingOptions options = make_options();
  options.epochs = 3;
  options.batch_size = 4;
  options.accumulate = 2;
  options.clip_grad = 0.5;
  options.ema_decay = 0.7;
  options.protocol = protocol;
  options.image.mixup = 0.5;
  options.image.label_smoothing = 0.1;
  options.schedule_by = "step";
  options.eval_every_steps = 2;
  options.checkpoint_every_steps = 1;
  return options;
}

Problem busy_problem() {
  Problem problem = make_problem(36);  // steps of 8, 8, 8, 8 and 4
  problem.job.forward = [layer = problem.layer](const Batch& batch) {
    return layer->forward(at::dropout(batch.at(kFeatures), 0.3, layer->is_training()));
  };
  return problem;
}

TEST(Checkpoints, EachContinuesBitForBit) {
  for (const char* protocol : {"last", "paper"}) {
    const TrainingOptions options = busy_options(protocol);
    Problem straight = busy_problem();
    Keeper keeper;
    Trainer trainer = straight.trainer(options, keeper);
    while (!trainer.done()) trainer.run_epoch();
    const Outcome expected = trainer.finish();
    ASSERT_EQ(keeper.checkpoints.size(), 3U * (4 + 2));  // after four steps, before the evaluation of the epoch and after it
    for (size_t i = 0; i < keeper.checkpoints.size(); ++i) {
      Problem resumed = busy_problem();
      Keeper rest;
      Trainer second = resumed.trainer(options, rest);
      at::manual_seed(1000);  // what was drawn before must not matter
      second.restore(keeper.checkpoints[i]);
      while (!second.done()) second.run_epoch();
      const Outcome outcome = second.finish();
      EXPECT_TRUE(at::equal(resumed.layer->weight, straight.layer->weight)) << protocol << ", checkpoint " << i;
      EXPECT_EQ(timeless(outcome.chosen), timeless(expected.chosen)) << protocol << ", checkpoint " << i;
      ASSERT_LE(rest.records.size(), keeper.records.size());
      const size_t before = keeper.records.size() - rest.records.size();
      for (size_t r = 0; r < keeper.records.size(); ++r) {
        EXPECT_EQ(keeper.checkpoints[i].progress.contains(keeper.records[r]), r < before)
            << "checkpoint " << i << ", record " << r;
        if (r >= before) EXPECT_EQ(timeless(rest.records[r - before]), timeless(keeper.records[r])) << "checkpoint " << i;
      }
      EXPECT_EQ(second.progress().steps, trainer.progress().steps);
    }
  }
}

TEST(Checkpoints, InsideAnEpochNeedTheirParts) {
  const TrainingOptions options = busy_options("last");
  Problem problem = busy_problem();
  Keeper keeper;
  Trainer trainer = problem.trainer(options, keeper);
  trainer.run_epoch();
  const Checkpoint good = keeper.checkpoints.front();
  ASSERT_EQ(good.progress.epoch_steps, 1);
  EXPECT_NO_THROW(trainer.restore(good));
  for (const char* key : {"epoch/sums", "epoch/mixing"}) {
    Checkpoint bad = good;
    bad.tensors[key] = at::zeros({2});
    EXPECT_THROW(trainer.restore(bad), std::runtime_error) << key;
    bad.tensors.erase(key);
    expect_error<std::runtime_error>([&] { trainer.restore(bad); }, {key});
  }
  Checkpoint beyond = good;
  beyond.progress.epoch_steps = 5;
  expect_error<std::runtime_error>([&] { trainer.restore(beyond); }, {"step 5 of an epoch of 5"});
}

/// Asks once to stop, when `what` makes progress.
class Stopper : public Keeper {
 public:
  explicit Stopper(std::string what) : what_(std::move(what)) {}
  void progress(const WorkProgress& work) override {
    if (work.what == what_ && !std::exchange(fired_, true)) stop = true;
  }
  std::atomic<bool> stop = false;

 private:
  std::string what_;
  bool fired_ = false;
};

TEST(Interruption, InAnEvaluationKeepsTheEpochBeforeIt) {
  TrainingOptions options = make_options();
  options.protocol = "paper";
  Problem straight = make_problem(24), stopped = make_problem(24), resumed = make_problem(24);
  Keeper all;
  Trainer whole = straight.trainer(options, all);
  while (!whole.done()) whole.run_epoch();

  Stopper stopper("test");
  Trainer trainer = stopped.trainer(options, stopper, Ranks::single(), &stopper.stop);
  expect_error<Interrupted>([&] { trainer.run_epoch(); }, {"while evaluating after epoch 1"});
  ASSERT_EQ(stopper.positions, (std::vector<std::pair<int64_t, bool>>{{4, true}}));
  EXPECT_TRUE(stopper.records.empty());

  Keeper rest;
  Trainer second = resumed.trainer(options, rest);
  second.restore(stopper.checkpoints.front());
  EXPECT_TRUE(at::equal(resumed.layer->weight, stopped.layer->weight));
  EXPECT_EQ(timeless(second.run_epoch()), timeless(all.records[0]));
  EXPECT_EQ(second.progress().steps, 4) << "the epoch must not be trained again";
  while (!second.done()) second.run_epoch();
  EXPECT_TRUE(at::equal(resumed.layer->weight, straight.layer->weight));
  EXPECT_EQ(timeless(rest.records.back()), timeless(all.records.back()));

  stopper.stop = false;  // the same trainer may go on as well
  EXPECT_EQ(timeless(trainer.run_epoch()), timeless(all.records[0]));
}

TEST(Interruption, InAnEpochTheSameTrainerGoesOn) {
  TrainingOptions options = make_options();
  Problem straight = make_problem(24), stopped = make_problem(24);
  Observer quiet;
  Trainer whole = straight.trainer(options, quiet);
  while (!whole.done()) whole.run_epoch();
  Stopper stopper("epoch 2/2");
  Trainer trainer = stopped.trainer(options, stopper, Ranks::single(), &stopper.stop);
  trainer.run_epoch();
  expect_error<Interrupted>([&] { trainer.run_epoch(); }, {"in epoch 2 after 6 of 24 images"});
  stopper.stop = false;
  trainer.run_epoch();
  EXPECT_TRUE(trainer.done());
  EXPECT_TRUE(at::equal(stopped.layer->weight, straight.layer->weight));
}

}  // namespace
}  // namespace respeft::train
