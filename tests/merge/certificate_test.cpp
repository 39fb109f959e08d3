#include <respeft/merge/certificate.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>

#include <respeft/core/interrupt.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/reslora.h>
#include <respeft/methods/rlrr.h>
#include <respeft/models/weights.h>

#include "tests/colored_images.h"
#include "tests/expect_error.h"
#include "tests/small_vit.h"

namespace respeft {
namespace {

using test::expect_error;
using test::random_model;
using test::small_config;

/// A model with every adapter away from its start.
std::shared_ptr<models::VisionTransformerImpl> adapted(const Method& method) {
  auto model = random_model(small_config());
  const auto attachment = attach(*model, method);
  const at::NoGradGuard no_grad;
  for (auto parameter : attachment->trainable_parameters()) parameter.add_(at::randn_like(parameter), 0.1);
  model->eval();
  return model;
}

TEST(Certificate, AnExactMergeIsWithinTheTolerance) {
  const auto model = adapted(Rlrr{});
  const Probe probe = random_probe(*model, 8);
  EXPECT_EQ(probe.inputs.sizes(), at::IntArrayRef({8, 3, 16, 16}));
  EXPECT_TRUE(at::equal(probe.inputs, random_probe(*model, 8).inputs)) << "the same for the same seed";
  const at::Tensor before = logits_of(*model, probe.inputs, 3);
  const Merged merged = merge_certified(*model, probe);
  EXPECT_EQ(merged.how, "exact");
  EXPECT_FALSE(merged.random_head);
  EXPECT_TRUE(merged.trials.empty());
  EXPECT_FALSE(has_adapters(*model));
  EXPECT_LT((before - merged.logits).abs().max().item<double>(), 1e-4 * before.abs().max().item<double>());
  expect_error<std::invalid_argument>([&] { merge_certified(*model, probe, {.how = "regresion"}); },
                                      {"how: unknown way to merge 'regresion'", "did you mean 'regression'"});
}

TEST(Certificate, ShortcutsAreTriedAndTheBestIsTaken) {
  const auto model = adapted(ResLora(Shortcut::Middle, {.rank = 2}));
  const Probe probe = random_probe(*model, 16);
  expect_error<std::invalid_argument>([&] { merge_measured(*model, probe); }, {"needs training images"});
  expect_error<std::invalid_argument>([&] { merge_measured(*model, probe, {.how = "exact"}); }, {"how: exact", "approximately"});
  MergeOptions options;
  options.calibration = [&] { return random_probe(*model, 64).inputs * 1.5; };
  int64_t tried = 0;
  options.progress = [&](const std::string&, int64_t done, int64_t) { tried = done; };
  ASSERT_TRUE(has_adapters(*model));
  const Merged merged = merge_measured(*model, probe, options);
  EXPECT_EQ(static_cast<size_t>(tried), merged.trials.size());
  double smallest = merged.trials[0].error;
  for (const auto& trial : merged.trials) smallest = std::min(smallest, trial.error);
  for (const auto& trial : merged.trials) {
    if (to_string(trial.merge) == merged.how) {
      EXPECT_EQ(trial.error, smallest);
    }
  }
  EXPECT_THROW(check_merge(merged, options), ToleranceExceeded);
  options.accept_loss = true;
  EXPECT_NO_THROW(check_merge(merged, options));
}

/// All logits of a head of zeros are equal, whatever the model computes.
TEST(Certificate, AHeadOfZerosIsReplacedWhileComparing) {
  const auto model = adapted(Rlrr{});
  {
    const at::NoGradGuard no_grad;
    model->head->weight.zero_();
  }
  const Probe probe = {random_probe(*model, 6).inputs, at::zeros({6}, at::kLong), "images"};
  const Merged merged = merge_certified(*model, probe);
  EXPECT_TRUE(merged.random_head);
  EXPECT_GT(merged.logits.std(0).min().item<double>(), 0.0) << "the logits depend on the images";
  EXPECT_GT(merged.comparison.max_difference, 0.0) << "rounding shows, so that a fault would";
  EXPECT_FALSE(merged.comparison.accuracy_first.has_value()) << "of a random head";
  EXPECT_FALSE(model->head->weight.any().item<bool>()) << "the zeros are put back";
}

TEST(Certificate, NotANumberIsAboveEveryTolerance) {
  const auto model = adapted(Rlrr{});
  {
    const at::NoGradGuard no_grad;
    model->blocks[0]->as<models::BlockImpl>()->mlp->fc1->weight.fill_(std::numeric_limits<float>::quiet_NaN());
  }
  EXPECT_THROW(merge_certified(*model, random_probe(*model, 2), {.tolerance = 1e30}), ToleranceExceeded);
}

TEST(Certificate, StopsAtOnceAndChangesNothing) {
  const auto model = adapted(Rlrr{});
  const std::atomic<bool> stop = true;
  EXPECT_THROW(merge_certified(*model, random_probe(*model, 2), {.stop = &stop}), Interrupted);
  EXPECT_TRUE(has_adapters(*model));
}

TEST(Probe, ImagesAreDrawnEvenlyFromTheClasses) {
  const test::Folder folder;
  test::write_colored_images(folder, "data");
  const auto dataset = data::open_dataset("imagefolder:" + (folder / "data"), data::Split::train);
  data::Preprocessing preprocessing;
  preprocessing.size = 16;
  const Probe probe = image_probe(dataset, preprocessing, 6, 0);
  EXPECT_TRUE(at::equal(at::bincount(probe.labels), at::tensor(std::vector<int64_t>{2, 2, 2})));
  EXPECT_EQ(image_probe(dataset, preprocessing, 64).inputs.size(0), 12);
}

}  // namespace
}  // namespace respeft
