#include <respeft/train/trainer.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/linear.h>

#include <limits>
#include <stdexcept>

#include <respeft/data/sampler.h>
#include <respeft/tasks/image_classification.h>

#include "tests/train/problem.h"

namespace respeft::train {
namespace {

using test::make_options;
using test::make_problem;
using test::Problem;
using test::TrainingOptions;

std::vector<at::Tensor> train(Problem& problem, const TrainingOptions& options) {
  Observer observer;
  Trainer trainer = problem.trainer(options, observer);
  while (!trainer.done()) trainer.run_epoch();
  return {problem.layer->weight.detach().clone(), problem.layer->bias.detach().clone()};
}

// 10 examples: a step of 6 and a last one of 4, as 3 + 3 and 3 + 1.
TEST(Trainer, AccumulationEqualsTheBigBatch) {
  TrainingOptions big = make_options(), small = make_options();
  big.clip_grad = small.clip_grad = 0.5;
  small.batch_size = 3;
  small.accumulate = 2;
  auto a = make_problem(), b = make_problem();
  const auto expected = train(a, big), got = train(b, small);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::allclose(got[i], expected[i], 1e-5, 1e-6));
  small.accumulate = 1;
  auto c = make_problem();
  EXPECT_FALSE(at::allclose(train(c, small)[0], expected[0], 1e-3, 1e-3));
}

TEST(Trainer, FirstStepIsThePlainFormula) {
  TrainingOptions config = make_options();
  config.epochs = 1;
  config.batch_size = 10;
  config.weight_decay = 0.1;
  auto problem = make_problem();
  const at::Tensor before = problem.layer->weight.detach().clone();
  const at::Tensor logits = at::linear(problem.inputs, before, problem.layer->bias.detach());
  const at::Tensor error = at::softmax(logits, 1) - at::one_hot(problem.labels, 4);
  const at::Tensor gradient = error.t().matmul(problem.inputs) / 10;
  // AdamW's first step: both averages are unbiased to the gradient itself.
  const at::Tensor expected = before * (1 - 0.1 * 0.1) - 0.1 * gradient / (gradient.abs() + 1e-8);
  EXPECT_TRUE(at::allclose(train(problem, config)[0], expected, 1e-4, 1e-5));
}

TEST(Trainer, LabelSmoothingIsAtensAndTheFormula) {
  TrainingOptions config = make_options();
  config.epochs = 1;
  config.lr = 0.0;
  config.min_lr = 0.0;
  config.image.label_smoothing = 0.1;
  auto problem = make_problem();
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  const EpochRecord record = trainer.run_epoch();
  const at::Tensor logits = problem.layer->forward(problem.inputs).detach();
  const double aten = at::cross_entropy_loss(logits, problem.labels, {}, at::Reduction::Mean, -100, 0.1).item<double>();
  const at::Tensor target = at::one_hot(problem.labels, 4) * 0.9 + 0.1 / 4;
  const double formula = -(target * at::log_softmax(logits, 1)).sum(1).mean().item<double>();
  EXPECT_NEAR(record.train.at("loss"), aten, 1e-6);
  EXPECT_NEAR(record.train.at("loss"), formula, 1e-6);
  ASSERT_TRUE(record.evaluation);
  EXPECT_NEAR(record.evaluation->metrics.at("loss"), at::cross_entropy_loss(logits, problem.labels).item<double>(), 1e-6);
  EXPECT_NEAR(record.evaluation->metrics.at("accuracy"),
              logits.argmax(1).eq(problem.labels).to(at::kDouble).mean().item<double>(), 1e-12);
  EXPECT_EQ(record.train.at("accuracy"), record.evaluation->metrics.at("accuracy"));
}

/// The share that each batch was mixed with, from the inputs that the model saw, is the share in its targets.
TEST(Trainer, MixesEachBatchAndItsLabels) {
  TrainingOptions config = make_options();
  config.epochs = 3;
  config.lr = 1e-30;  // the layer stays as it is
  config.min_lr = config.warmup_lr = 0.0;
  config.batch_size = 4;
  config.image.label_smoothing = 0.1;
  config.image.mixup = 0.5;
  config.image.mixup_off_epoch = 2;
  auto problem = make_problem(8);
  std::vector<at::Tensor> seen;
  problem.job.forward = [&](const Batch& batch) {
    const at::Tensor& x = batch.at(kFeatures);
    if (problem.layer->is_training()) seen.push_back(x.clone());
    return problem.layer->forward(x);
  };
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  const at::Tensor targets = at::one_hot(problem.labels, 4) * 0.9 + 0.1 / 4;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    seen.clear();
    const EpochRecord record = trainer.run_epoch();
    ASSERT_EQ(seen.size(), 2U);
    const auto order = data::epoch_order(8, 42, epoch);
    double loss = 0.0;
    for (size_t b = 0; b < 2; ++b) {
      const at::Tensor rows = at::tensor(std::vector<int64_t>(order.begin() + 4 * b, order.begin() + 4 * b + 4));
      const at::Tensor own = problem.inputs.index_select(0, rows), target = targets.index_select(0, rows);
      const at::Tensor first = own[0] - own[3], mixed = seen[b][0] - own[3];
      const double share = (mixed.dot(first) / first.dot(first)).item<double>();
      EXPECT_TRUE(at::allclose(seen[b], own * share + own.flip(0) * (1 - share), 1e-4, 1e-5));
      EXPECT_EQ(share < 0.9999, epoch < 2) << share << " in epoch " << epoch;
      const at::Tensor soft = target * share + target.flip(0) * (1 - share);
      loss -= (soft * at::log_softmax(problem.layer->forward(seen[b]).detach(), 1)).sum().item<double>();
    }
    EXPECT_NEAR(record.train.at("loss"), loss / 8, 1e-5);
  }
}

TEST(Trainer, CutMixNeedsImages) {
  TrainingOptions config = make_options();
  config.image.cutmix = 1.0;
  auto problem = make_problem(8);
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  EXPECT_THROW(trainer.run_epoch(), std::invalid_argument);
}

TEST(Trainer, TheMovingAverageIsEvaluatedAndKept) {
  TrainingOptions config = make_options();
  config.epochs = 3;
  auto plain = make_problem(6), averaged = make_problem(6);
  Observer observer;
  Trainer without = plain.trainer(config, observer);
  config.ema_decay = 0.6;
  Trainer with = averaged.trainer(config, observer);
  at::Tensor expected = plain.layer->weight.detach().clone();
  for (int epoch = 0; epoch < 3; ++epoch) {  // a step each
    without.run_epoch();
    const EpochRecord record = with.run_epoch();
    EXPECT_TRUE(at::equal(averaged.layer->weight, plain.layer->weight)) << "training must not see the average";
    expected = expected * 0.6 + plain.layer->weight.detach() * 0.4;
    EXPECT_TRUE(at::allclose(with.checkpoint().tensors.at("ema/head.weight"), expected, 1e-5, 1e-6));
    if (epoch == 2) {
      const Outcome outcome = with.finish();
      EXPECT_TRUE(at::allclose(averaged.layer->weight, expected, 1e-5, 1e-6));
      EXPECT_EQ(outcome.test, *record.evaluation);
      EXPECT_NE(outcome.selection.find("moving average"), std::string::npos) << outcome.selection;
      EXPECT_EQ(with.evaluate(*averaged.job.test, "test").metrics.at("loss"), record.evaluation->metrics.at("loss"));
      EXPECT_NE(without.evaluate(*plain.job.test, "test").metrics.at("loss"), record.evaluation->metrics.at("loss"));
    }
  }
}

TEST(Trainer, TheMovingAverageGoesOnFromACheckpoint) {
  for (const char* protocol : {"last", "paper"}) {
    TrainingOptions config = make_options();
    config.epochs = 4;
    config.ema_decay = 0.7;
    config.protocol = protocol;
    Observer observer;
    auto straight = make_problem(12), resumed = make_problem(12);
    Trainer first = straight.trainer(config, observer), second = resumed.trainer(config, observer);
    for (int i = 0; i < 2; ++i) first.run_epoch();
    Checkpoint checkpoint = first.checkpoint();
    for (auto& [name, tensor] : checkpoint.tensors) tensor = tensor.clone();
    for (int i = 0; i < 2; ++i) first.run_epoch();
    const Outcome expected = first.finish();
    Checkpoint bad = checkpoint;
    bad.tensors.erase("ema/head.bias");
    EXPECT_THROW(second.restore(bad), std::runtime_error);
    second.restore(checkpoint);
    for (int i = 0; i < 2; ++i) second.run_epoch();
    const Outcome outcome = second.finish();
    EXPECT_TRUE(at::equal(resumed.layer->weight, straight.layer->weight)) << protocol;
    EXPECT_EQ(outcome.test->metrics.at("loss"), expected.test->metrics.at("loss")) << protocol;
    EXPECT_EQ(outcome.chosen.epoch, expected.chosen.epoch) << protocol;
  }
}

TEST(Trainer, LossThatIsNotFiniteStops) {
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    auto problem = make_problem();
    int64_t calls = 0;
    problem.job.forward = [&](const Batch& batch) {
      return problem.layer->forward(batch.at(kFeatures)) * (++calls == 3 ? bad : 1.0);
    };
    TrainingOptions config = make_options();
    config.eval_every = 0;
    Observer observer;
    Trainer trainer = problem.trainer(config, observer);
    trainer.run_epoch();
    const at::Tensor before = problem.layer->weight.detach().clone();
    try {
      trainer.run_epoch();
      FAIL() << "no error";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("at epoch 2, step 3"), std::string::npos) << error.what();
    }
    EXPECT_TRUE(at::equal(problem.layer->weight, before));
    EXPECT_EQ(trainer.progress().epochs, 1);
  }
}

/// A source that counts the passes over it.
class Counted : public data::Source {
 public:
  explicit Counted(std::shared_ptr<const data::Source> source) : source_(std::move(source)) {}
  int64_t size() const override { return source_->size(); }
  std::unique_ptr<data::BatchIterator> batches(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const override {
    ++passes;
    return source_->batches(std::move(order), batch_size, seed);
  }
  mutable int64_t passes = 0;

 private:
  std::shared_ptr<const data::Source> source_;
};

TEST(Trainer, BeginsTheNextEpochsPassBeforeItEvaluates) {
  /// Tells, when it is evaluated on, how often training has begun.
  struct Watching : Counted {
    using Counted::Counted;
    std::unique_ptr<data::BatchIterator> batches(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const override {
      seen.push_back(train->passes);
      return Counted::batches(std::move(order), batch_size, seed);
    }
    std::shared_ptr<Counted> train;
    mutable std::vector<int64_t> seen;
  };
  auto problem = make_problem(24);
  const auto train = std::make_shared<Counted>(problem.job.train);
  const auto test = std::make_shared<Watching>(problem.job.test);
  test->train = train;
  problem.job.train = train;
  problem.job.test = test;
  TrainingOptions config = make_options();
  config.epochs = 3;
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  while (!trainer.done()) trainer.run_epoch();
  EXPECT_EQ(test->seen, (std::vector<int64_t>{2, 3, 3}));
}

/// Few examples, noisy labels and a high rate: the accuracy goes up and down.
struct Noisy {
  Problem problem = make_problem(24);
  std::shared_ptr<Counted> test, val;
  std::vector<EpochRecord> records;
  std::vector<at::Tensor> weights;
  std::optional<Outcome> outcome;

  explicit Noisy(const std::string& protocol, std::shared_ptr<Attachment> attachment = nullptr) {
    const auto other = make_problem(40);
    test = std::make_shared<Counted>(test::source(other.inputs.slice(0, 0, 20), other.labels.slice(0, 0, 20)));
    val = std::make_shared<Counted>(test::source(other.inputs.slice(0, 20), other.labels.slice(0, 20)));
    problem.job.test = test;
    problem.job.val = val;
    if (attachment) problem.attach_method(std::move(attachment));
    TrainingOptions config = make_options();
    config.protocol = protocol;
    config.epochs = 12;
    config.lr = 1.0;
    Observer observer;
    Trainer trainer = problem.trainer(config, observer);
    while (!trainer.done()) {
      records.push_back(trainer.run_epoch());
      weights.push_back(problem.layer->weight.detach().clone());
    }
    outcome = trainer.finish();
  }

  size_t first_best(size_t from = 0) const {
    size_t best = from;
    for (size_t i = from + 1; i < records.size(); ++i) {
      if (records[i].evaluation->metrics.at("accuracy") > records[best].evaluation->metrics.at("accuracy")) best = i;
    }
    return best;
  }
};

TEST(Protocol, LastTakesTheLastEpoch) {
  const Noisy run("last");
  EXPECT_EQ(run.outcome->chosen.epoch, 12);
  EXPECT_TRUE(at::equal(run.problem.layer->weight, run.weights.back()));
  EXPECT_EQ(run.outcome->test, *run.records.back().evaluation);
  EXPECT_EQ(run.val->passes, 0);
}

TEST(Protocol, PaperTakesTheBestOnTestAndSaysSo) {
  const Noisy run("paper");
  ASSERT_LT(run.first_best(), 11U) << "the best epoch must not be the last, or this test shows nothing";
  EXPECT_EQ(run.outcome->chosen.epoch, static_cast<int64_t>(run.first_best()) + 1);
  EXPECT_TRUE(at::equal(run.problem.layer->weight, run.weights[run.first_best()]));
  EXPECT_NE(run.outcome->selection.find("TEST"), std::string::npos);
}

/// Adds `weight` · the length of the parameters to the loss, and notes the steps it is told of.
struct Shrink : Attachment {
  Shrink(const Problem& problem, double strength, int64_t from)
      : weight(problem.layer->weight), amount(strength), settles(from) {}
  at::Tensor regularization() const override { return weight.norm() * amount; }
  void after_step(int64_t step, int64_t steps) override {
    told.emplace_back(step, steps);
    EXPECT_TRUE(weight.grad().defined()) << "the gradients are gone";
  }
  bool finished(int64_t step, int64_t) const override { return step >= settles; }
  bool changes_parameters() const override { return true; }
  at::Tensor weight;
  double amount;
  int64_t settles;
  std::vector<std::pair<int64_t, int64_t>> told;
};

TEST(Trainer, TheMethodIsToldOfEveryStepAndAddsToTheLoss) {
  const auto train = [](double strength) {
    auto problem = make_problem(24);
    const auto method = std::make_shared<Shrink>(problem, strength, 0);
    problem.attach_method(method);
    Observer observer;
    const TrainingOptions config = make_options();
    Trainer trainer = problem.trainer(config, observer);
    while (!trainer.done()) trainer.run_epoch();
    const int64_t steps = config.epochs * 24 / config.batch_size;
    EXPECT_EQ(trainer.progress().steps, steps);
    EXPECT_EQ(method->told.size(), static_cast<size_t>(steps));
    for (size_t i = 0; i < method->told.size(); ++i) EXPECT_EQ(method->told[i], (std::pair<int64_t, int64_t>(i + 1, steps)));
    return problem.layer->weight.norm().item<double>();
  };
  EXPECT_LT(train(10.0), 0.9 * train(0.0));
}

TEST(Trainer, NoMovingAverageOfPrunedRanks) {
  auto problem = make_problem();
  problem.attach_method(std::make_shared<Shrink>(problem, 0.0, 0));
  TrainingOptions config = make_options();
  config.ema_decay = 0.9;
  Observer observer;
  EXPECT_THROW(problem.trainer(config, observer), std::invalid_argument);
}

TEST(Trainer, ChoosesOnlyWhereRanksSettleBeforeItStops) {
  auto problem = make_problem(24);
  problem.attach_method(std::make_shared<Shrink>(problem, 0.0, 3 * 24 / 6));  // from the end of the third epoch on
  TrainingOptions config = make_options();
  config.epochs = 4;
  config.protocol = "paper";
  config.stop_epoch = 2;
  Observer observer;
  try {
    Trainer trainer = problem.trainer(config, observer);
    FAIL() << "no error";
  } catch (const std::invalid_argument& error) {
    for (const char* word : {"stop_epoch", "target_rank", "protocol = paper", "2 of 4"}) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  }
  config.stop_epoch = 3;
  EXPECT_NO_THROW(problem.trainer(config, observer));
  config.protocol = "last";
  config.stop_epoch = 2;
  EXPECT_NO_THROW(problem.trainer(config, observer));
}

TEST(Trainer, TheWarmupMayComeBeforeTheCosine) {
  TrainingOptions config = make_options();
  config.epochs = 4;
  config.warmup_epochs = 2;
  config.lr = 0.1;
  config.schedule_lag = false;
  config.warmup_prefix = true;
  auto problem = make_problem();
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  std::vector<double> rates;
  while (!trainer.done()) rates.push_back(trainer.run_epoch().lr);
  ASSERT_EQ(rates.size(), 4U);
  EXPECT_DOUBLE_EQ(rates[2], 0.1);
  EXPECT_NEAR(rates[3], 0.05, 1e-7);
}

TEST(Protocol, OnlyEpochsWhereTheMethodHasFinishedAreChosen) {
  const size_t best = Noisy("paper").first_best();
  ASSERT_LT(best, 11U) << "the best epoch must not be the last, or this test shows nothing";
  constexpr int64_t steps_an_epoch = 24 / 6;
  const auto epochs = static_cast<int64_t>(best) + 2;  // the one after the best
  const Noisy run("paper", std::make_shared<Shrink>(make_problem(24), 0.0, epochs * steps_an_epoch));
  EXPECT_EQ(run.first_best(), best) << "the method was to change nothing else";
  EXPECT_EQ(run.outcome->chosen.epoch, static_cast<int64_t>(run.first_best(best + 1)) + 1);
}

TEST(Protocol, ValNeverLooksAtTheTestSplitBeforeTheEnd) {
  const Noisy run("val");
  ASSERT_LT(run.first_best(), 11U) << "the best epoch must not be the last, or this test shows nothing";
  EXPECT_EQ(run.outcome->chosen.epoch, static_cast<int64_t>(run.first_best()) + 1);
  EXPECT_TRUE(at::equal(run.problem.layer->weight, run.weights[run.first_best()]));
  EXPECT_EQ(run.val->passes, 12);
  EXPECT_EQ(run.test->passes, 1);
  EXPECT_EQ(run.outcome->test->split, "test");
}

TEST(Protocol, ValNeedsAValidationSplit) {
  auto problem = make_problem();
  TrainingOptions config = make_options();
  config.protocol = "val";
  Observer observer;
  EXPECT_THROW(problem.trainer(config, observer), std::invalid_argument);
}

TEST(Trainer, Bfloat16IsAutocastInTheForwardAlone) {
  auto problem = make_problem();
  std::vector<at::ScalarType> seen;
  problem.job.forward = [&](const Batch& batch) {
    const at::Tensor output = problem.layer->forward(batch.at(kFeatures));
    seen.push_back(output.scalar_type());
    return output;
  };
  TrainingOptions config = make_options();
  config.precision = "bfloat16";
  train(problem, config);
  ASSERT_FALSE(seen.empty());
  for (const auto dtype : seen) EXPECT_EQ(dtype, at::kBFloat16);
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_EQ(problem.layer->weight.scalar_type(), at::kFloat);
}

TEST(Trainer, RefusesACheckpointOfAnotherTask) {
  auto problem = make_problem();
  const TrainingOptions config = make_options();
  Observer observer;
  Trainer trainer = problem.trainer(config, observer);
  trainer.run_epoch();
  const Checkpoint good = trainer.checkpoint();
  EXPECT_NO_THROW(trainer.restore(good));
  for (const char* key : {"generator", "trained/head.bias", "exp_avg/head.weight"}) {
    Checkpoint bad = good;
    bad.tensors.erase(key);
    EXPECT_THROW(trainer.restore(bad), std::runtime_error) << key;
    bad.tensors[key] = at::zeros({3});
    EXPECT_THROW(trainer.restore(bad), std::runtime_error) << key;
  }
}

TEST(Trainer, NothingToTrainIsAnError) {
  auto problem = make_problem();
  problem.job.module = std::make_shared<torch::nn::LinearImpl>(2, 2);  // nothing of it is a head
  problem.attach_method(std::make_shared<Attachment>());
  Observer observer;
  EXPECT_THROW(problem.trainer(make_options(), observer), std::invalid_argument);
}

}  // namespace
}  // namespace respeft::train
