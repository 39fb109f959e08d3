// Training on several ranks, which are threads here.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "tests/expect_error.h"
#include "tests/thread_ranks.h"
#include "tests/train/problem.h"

namespace respeft::train {
namespace {

using respeft::test::expect_error;
using respeft::test::on_ranks;
using test::make_options;
using test::make_problem;
using test::Problem;
using test::TrainingOptions;

std::vector<Problem> problems(int64_t count, int64_t examples) {
  std::vector<Problem> made;
  for (int64_t i = 0; i < count; ++i) made.push_back(make_problem(examples));
  return made;
}

/// Remembers the gradients before each step, through the one place that sees them.
struct Gradients : Attachment {
  explicit Gradients(const Problem& problem) : weight(problem.layer->weight) {}
  at::Tensor regularization() const override { return weight.square().sum() * 0.01; }
  void after_step(int64_t, int64_t) override { seen.push_back(weight.grad().clone()); }
  at::Tensor weight;
  std::vector<at::Tensor> seen;
};

// 22 examples: steps of 8, 8 and 6, as 4 + 4 on each of two ranks and 3 on each; 17: the last step is one example, on rank 0
// alone.
TEST(TwoRanks, HaveTheSingleRanksGradients) {
  for (const int64_t examples : {22, 17}) {
    TrainingOptions options = make_options();
    options.batch_size = 4;
    options.accumulate = 2;
    options.protocol = "paper";
    options.checkpoint_every_steps = 2;
    auto one = make_problem(examples);
    const auto expected = std::make_shared<Gradients>(one);
    one.attach_method(expected);
    Observer observer;
    Trainer trainer = one.trainer(options, observer);
    std::vector<EpochRecord> records;
    while (!trainer.done()) records.push_back(trainer.run_epoch());

    auto two = problems(2, examples);
    on_ranks(2, [&](Ranks& ranks) {
      auto& own = two[static_cast<size_t>(ranks.rank())];
      const auto got = std::make_shared<Gradients>(own);
      own.attach_method(got);
      Observer quiet;
      Trainer part = own.trainer(options, quiet, ranks);
      for (const auto& record : records) {
        const EpochRecord together = part.run_epoch();
        EXPECT_NEAR(together.train.at("loss"), record.train.at("loss"), 1e-6);
        EXPECT_EQ(together.train.at("accuracy"), record.train.at("accuracy"));
        EXPECT_EQ(together.evaluation->examples, record.evaluation->examples);
        EXPECT_NEAR(together.evaluation->metrics.at("loss"), record.evaluation->metrics.at("loss"), 1e-6);
        EXPECT_EQ(together.evaluation->metrics.at("accuracy"), record.evaluation->metrics.at("accuracy"));
      }
      ASSERT_EQ(got->seen.size(), expected->seen.size());
      for (size_t i = 0; i < got->seen.size(); ++i)
        EXPECT_TRUE(at::allclose(got->seen[i], expected->seen[i], 1e-5, 1e-6)) << examples << " examples, step " << i;
    });
    EXPECT_TRUE(at::equal(two[0].layer->weight, two[1].layer->weight)) << "the ranks must not drift apart";
    EXPECT_TRUE(at::allclose(two[0].layer->weight, one.layer->weight, 1e-4, 1e-5));
  }
}

TEST(TwoRanks, BeginWithTheFirstRanksParameters) {
  auto two = problems(2, 12);
  const at::Tensor first = two[0].layer->weight.detach().clone();
  {
    const at::NoGradGuard no_grad;
    two[1].layer->weight.zero_();
  }
  on_ranks(2, [&](Ranks& ranks) {
    Observer quiet;
    Trainer trainer = two[static_cast<size_t>(ranks.rank())].trainer(make_options(), quiet, ranks);
    EXPECT_TRUE(at::equal(two[static_cast<size_t>(ranks.rank())].layer->weight, first));
  });
}

TEST(TwoRanks, ALossThatIsNotFiniteOnOneStopsBoth) {
  auto two = problems(2, 12);
  int64_t calls = 0;
  two[1].job.forward = [&, layer = two[1].layer](const Batch& batch) {
    const double factor = ++calls == 3 ? std::numeric_limits<double>::infinity() : 1.0;
    return layer->forward(batch.at(kFeatures)) * factor;
  };
  std::atomic<int> stopped = 0;
  on_ranks(2, [&](Ranks& ranks) {
    TrainingOptions options = make_options();
    options.eval_every = 0;
    Observer quiet;
    auto& own = two[static_cast<size_t>(ranks.rank())];
    Trainer trainer = own.trainer(options, quiet, ranks);
    trainer.run_epoch();  // two steps
    const at::Tensor before = own.layer->weight.detach().clone();
    expect_error<std::runtime_error>([&] { trainer.run_epoch(); }, {"at epoch 2, step 3"});
    EXPECT_TRUE(at::equal(own.layer->weight, before));
    ++stopped;
  });
  EXPECT_EQ(stopped, 2);
}

TEST(TwoRanks, StopTogether) {
  auto two = problems(2, 12);
  std::atomic<bool> stop = false;
  const std::atomic<bool> never = false;
  std::atomic<int> stopped = 0;
  on_ranks(2, [&](Ranks& ranks) {
    TrainingOptions options = make_options();
    options.epochs = 100;
    options.eval_every = 0;
    Observer quiet;
    Trainer trainer = two[static_cast<size_t>(ranks.rank())].trainer(options, quiet, ranks, ranks.rank() == 1 ? &stop : &never);
    trainer.run_epoch();
    if (ranks.rank() == 1) stop = true;
    try {
      while (!trainer.done()) trainer.run_epoch();
    } catch (const Interrupted&) {
      ++stopped;
    }
  });
  EXPECT_EQ(stopped, 2);
}

TEST(TwoRanks, NeedBatchesThatCanBeDivided) {
  auto two = problems(2, 12);
  on_ranks(2, [&](Ranks& ranks) {
    TrainingOptions options = make_options();
    options.batch_size = 5;
    Observer quiet;
    expect_error<std::invalid_argument>([&] { two[static_cast<size_t>(ranks.rank())].trainer(options, quiet, ranks); },
                                        {"batch_size", "multiple of the 2 ranks", "5"});
  });
}

}  // namespace
}  // namespace respeft::train
