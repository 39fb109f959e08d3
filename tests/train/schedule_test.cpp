#include <gtest/gtest.h>

#include <vector>

#include <respeft/train/schedule.h>

namespace respeft::train {
namespace {

void expect_rates(const CosineSchedule& schedule, const std::vector<double>& expected) {
  for (size_t epoch = 0; epoch < expected.size(); ++epoch) {
    EXPECT_NEAR(schedule.at(static_cast<int64_t>(epoch)), expected[epoch], 1e-12 * schedule.lr) << "epoch " << epoch;
  }
}

// The expected rates are timm 1.0.31's: `CosineLRScheduler(optimizer, t_initial, lr_min, warmup_t=…, warmup_lr_init=…,
// cycle_limit=1)`, read before each epoch and stepped after it with its number.
TEST(CosineSchedule, NineEpochsOneOfWarmup) {
  expect_rates({3e-3, 1e-7, 1e-8, 9, 1},
               {1e-07, 1e-07, 0.0029095392327157586, 0.0026490678344562512, 0.0022500025, 0.0017604763982595074,
                0.0012395336017404928, 0.0007500075000000004, 0.00035094216554374877});
}

TEST(CosineSchedule, WarmupAndCooldown) {
  expect_rates({1e-3, 1e-7, 1e-8, 12, 3},
               {1e-07, 1e-07, 0.00033339999999999997, 0.0006666999999999999, 0.0008535548550593679, 0.0007500025000000001,
                0.0006294132284560349, 0.0005000050000000001, 0.0003705967715439652, 0.0002500075000000001, 0.0001464551449406322,
                6.699662823479957e-05, 1.704691648459735e-05, 1e-08, 1e-08});
}

TEST(CosineSchedule, NoWarmup) {
  expect_rates({2e-3, 1e-7, 1e-8, 5, 0},
               {0.002, 0.002, 0.0018090179492899756, 0.0013090204492899756, 0.0006909895507100246, 0.00019099205071002455});
}

TEST(CosineSchedule, PapersHundredAndTenEpochs) {
  const CosineSchedule schedule{5e-3, 1e-7, 1e-8, 100, 10};
  const std::vector<std::pair<int64_t, double>> expected = {{0, 1e-07},
                                                            {1, 1e-07},
                                                            {2, 0.0005000899999999999},
                                                            {10, 0.00450001},
                                                            {11, 0.004877641535455303},
                                                            {12, 0.004852202217981719},
                                                            {50, 0.0025785317406415253},
                                                            {99, 4.943169062963244e-06},
                                                            {100, 1.2435966184728285e-06},
                                                            {101, 1e-08},
                                                            {109, 1e-08}};
  for (const auto& [epoch, rate] : expected) EXPECT_NEAR(schedule.at(epoch), rate, 1e-14) << "epoch " << epoch;
}

// As above, but `step(epoch + 1)` after each epoch, as timm's own training script does.
TEST(CosineSchedule, WithoutLagEachEpochHasItsOwnRate) {
  CosineSchedule schedule{1e-3, 1e-7, 1e-8, 12, 3};
  schedule.lag = false;
  expect_rates(schedule, {1e-07, 0.00033339999999999997, 0.0006666999999999999, 0.0008535548550593679, 0.0007500025000000001,
                          0.0006294132284560349, 0.0005000050000000001, 0.0003705967715439652, 0.0002500075000000001,
                          0.0001464551449406322, 6.699662823479957e-05, 1.704691648459735e-05, 1e-08, 1e-08});
}

// VPT's `WarmupCosineSchedule(warmup_steps=10, t_total=100)` times a rate of 1.
TEST(CosineSchedule, TheCosineMayBeginAfterTheWarmup) {
  const CosineSchedule schedule{1.0, 0.0, 0.0, 100, 10, false, true};
  const std::vector<std::pair<int64_t, double>> expected = {{0, 0.0}, {5, 0.5}, {10, 1.0}, {55, 0.5}, {100, 0.0}};
  for (const auto& [epoch, rate] : expected) {
    EXPECT_NEAR(schedule.at(epoch), rate, 1e-12) << "epoch " << epoch;
  }
  const CosineSchedule warmup_alone{1.0, 0.0, 0.0, 10, 10, false, true};
  EXPECT_NEAR(warmup_alone.at(9), 0.9, 1e-12);
  EXPECT_EQ(warmup_alone.at(10), 0.0);
}

}  // namespace
}  // namespace respeft::train
