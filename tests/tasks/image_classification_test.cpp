#include <respeft/tasks/image_classification.h>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include <respeft/tasks/registry.h>

#include "tests/expect_error.h"
#include "tests/folder.h"
#include "tests/png.h"

namespace respeft::tasks {
namespace {

using test::expect_error;

double value(const NamedValues& values, const std::string& name) {
  for (const auto& [own, number] : values) {
    if (own == name) return number;
  }
  throw std::out_of_range(name);
}

TEST(ImageClassification, LossIsASumOverExamples) {
  at::manual_seed(1);
  const at::Tensor logits = at::randn({5, 3}), labels = at::tensor({0, 2, 1, 1, 0}, at::kLong);
  const Batch batch = {{kLabels, labels}};
  data::ImageOptions options;
  options.label_smoothing = 0.2;
  const ImageClassification task(options, 3);
  const at::Tensor logs = at::log_softmax(logits, 1);
  const Loss evaluated = task.loss(logits, batch, false), trained = task.loss(logits, batch, true);
  EXPECT_EQ(evaluated.count, 5);
  EXPECT_NEAR(evaluated.sum.item<double>(), -(at::one_hot(labels, 3) * logs).sum().item<double>(), 1e-5);
  EXPECT_NEAR(trained.sum.item<double>(), -((at::one_hot(labels, 3) * 0.8 + 0.2 / 3) * logs).sum().item<double>(), 1e-5);
}

TEST(ImageClassification, MetricsOfBatchesAddUp) {
  at::manual_seed(2);
  const ImageClassification task({}, 4);
  const at::Tensor logits = at::randn({10, 4}), labels = at::randint(4, {10}, at::kLong);
  const auto whole = task.metrics(at::kCPU), first = task.metrics(at::kCPU), second = task.metrics(at::kCPU);
  const auto add = [&](Metrics& metrics, int64_t begin, int64_t end) {
    const Batch batch = {{kLabels, labels.slice(0, begin, end)}};
    metrics.add(logits.slice(0, begin, end), batch, task.loss(logits.slice(0, begin, end), batch, false));
  };
  add(*whole, 0, 10);
  add(*first, 0, 7);
  add(*second, 7, 10);
  first->sums().add_(second->sums());
  EXPECT_NEAR(value(first->read(), "loss"), value(whole->read(), "loss"), 1e-6);
  EXPECT_EQ(value(first->read(), "accuracy"), value(whole->read(), "accuracy"));
  EXPECT_NEAR(value(whole->read(), "accuracy"), logits.argmax(1).eq(labels).to(at::kDouble).mean().item<double>(), 1e-12);
  EXPECT_EQ(whole->read().front().first, "loss");
  EXPECT_TRUE(first->sums().scalar_type() == at::kDouble);
}

TEST(ImageClassification, MixingMakesLabelsMixtures) {
  data::ImageOptions options;
  options.mixup = 1.0;
  options.mixup_off_epoch = 1;
  const ImageClassification task(options, 3);
  const at::Tensor pixels = at::rand({4, 3, 2, 2}), labels = at::tensor({0, 1, 2, 2}, at::kLong);
  std::mt19937_64 generator(1);
  Batch mixed = {{kPixels, pixels.clone()}, {kLabels, labels}};
  task.prepare(mixed, 0, generator);
  EXPECT_FALSE(at::equal(mixed.at(kPixels), pixels));
  EXPECT_EQ(mixed.at(kLabels).sizes(), (std::vector<int64_t>{4, 3}));
  EXPECT_TRUE(at::allclose(mixed.at(kLabels).sum(1), at::ones({4})));
  Batch plain = {{kPixels, pixels.clone()}, {kLabels, labels}};
  const auto before = generator;
  task.prepare(plain, 1, generator);
  EXPECT_TRUE(at::equal(plain.at(kPixels), pixels));
  EXPECT_TRUE(at::equal(plain.at(kLabels), at::one_hot(labels, 3).to(at::kFloat)));
  EXPECT_EQ(generator, before) << "nothing is drawn where nothing is mixed";
}

TEST(Registry, NamesAreKnownOrSuggested) {
  for (const auto& entry : registry()) EXPECT_EQ(find(entry.name).name, entry.name);
  expect_error<std::invalid_argument>([] { find("image-clasification"); }, {"task", "did you mean 'image-classification'"});
}

struct Opening : testing::Test {
  Opening() {
    for (const char* split : {"train", "val", "test"}) {
      for (uint8_t i = 0; i < 6; ++i) {
        const std::vector<uint8_t> pixels(8 * 8 * 3, static_cast<uint8_t>(10 * i));
        folder.write(std::string(split) + (i % 2 == 0 ? "/a/" : "/b/") + std::to_string(i) + ".png", test::png(8, 8, pixels));
      }
    }
    options.data = "imagefolder:" + (folder / ".");
    options.image_size = 8;
  }
  test::Folder folder;
  DataOptions options;
};

TEST_F(Opening, GivesBatchesOfPixelsAndLabels) {
  options.train_samples = 4;
  options.test_samples = 3;
  const Assignment assignment = find("image-classification").open(options);
  EXPECT_EQ(assignment.train_split, "trainval");
  EXPECT_EQ(assignment.train->size(), 4);
  EXPECT_EQ(assignment.test->size(), 3);
  EXPECT_FALSE(assignment.val);
  EXPECT_EQ(assignment.outputs, 2);
  EXPECT_EQ(assignment.class_names, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(assignment.fixed_inputs);
  const auto batch = assignment.train->batches({0, 1, 2}, 2, 0)->next();
  EXPECT_EQ(batch->at(kPixels).sizes(), (std::vector<int64_t>{2, 3, 8, 8}));
  EXPECT_EQ(batch->at(kLabels).sizes(), (std::vector<int64_t>{2}));
}

TEST_F(Opening, AugmentationIsNotFixed) {
  options.val = true;
  EXPECT_EQ(find("image-classification").open(options).train_split, "train");
  EXPECT_TRUE(find("image-classification").open(options).val);
  for (const auto& set : std::vector<std::function<void(data::ImageOptions&)>>{
           [](auto& image) { image.flip = true; }, [](auto& image) { image.mixup = 0.1; },
           [](auto& image) { image.auto_augment = "rand-m9"; }, [](auto& image) { image.random_erasing = 0.1; }}) {
    DataOptions other = options;
    set(other.image);
    EXPECT_FALSE(find("image-classification").open(other).fixed_inputs);
  }
}

}  // namespace
}  // namespace respeft::tasks
