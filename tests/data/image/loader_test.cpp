#include <respeft/data/image/loader.h>

#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <set>
#include <thread>

#include "tests/expect_error.h"

namespace respeft::data {
namespace {

using test::expect_error;

using namespace std::chrono_literals;

/// Image i has the values i, i + 1, … ; what else happens on loading is up to the test.
class Source : public Dataset {
 public:
  explicit Source(int64_t size, std::function<void(int64_t)> on_load = {}) : size_(size), on_load_(std::move(on_load)) {}
  int64_t size() const override { return size_; }
  int64_t label(int64_t index) const override { return index % 7; }
  Image load(int64_t index) const override {
    if (on_load_) on_load_(index);
    ++loads;
    Image image(4, 4);
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(index + static_cast<int64_t>(i));
    return image;
  }
  std::string item_name(int64_t index) const override { return std::to_string(index); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string description() const override { return "source"; }

  mutable std::atomic<int> loads = 0;

 private:
  int64_t size_;
  std::function<void(int64_t)> on_load_;
  std::vector<std::string> names_ = std::vector<std::string>(7, "class");
};

const Transform kRandom({.size = 4, .resize_size = 6}, {.random_crop = true, .random_flip = true});

std::vector<ImageBatch> all_batches(Loader loader) {
  std::vector<ImageBatch> batches;
  while (auto batch = loader.next()) batches.push_back(std::move(*batch));
  EXPECT_FALSE(loader.next().has_value());
  EXPECT_EQ(static_cast<int64_t>(batches.size()), loader.batches());
  return batches;
}

TEST(Loader, BatchesDoNotDependOnWorkers) {
  const auto source = std::make_shared<Source>(103, [](int64_t i) { std::this_thread::sleep_for(i % 5 * 100us); });
  const auto order = epoch_order(103, 1, 0);
  const auto expected = all_batches(Loader(source, kRandom, order, {.batch_size = 8, .workers = 0, .seed = 3}));
  ASSERT_EQ(expected.size(), 13u);
  EXPECT_EQ(expected.back().images.size(0), 103 - 12 * 8);
  for (int64_t workers : {1, 2, 4, 200}) {
    for (int64_t ahead : {1, 3}) {
      const auto batches =
          all_batches(Loader(source, kRandom, order, {.batch_size = 8, .workers = workers, .ahead = ahead, .seed = 3}));
      ASSERT_EQ(batches.size(), expected.size());
      for (size_t b = 0; b < batches.size(); ++b) {
        EXPECT_EQ(batches[b].indices, expected[b].indices);
        EXPECT_TRUE(at::equal(batches[b].images, expected[b].images)) << workers << " workers, batch " << b;
        EXPECT_TRUE(at::equal(batches[b].labels, expected[b].labels));
      }
    }
  }
}

TEST(Loader, BatchesHoldTheImagesOfTheirIndices) {
  const auto source = std::make_shared<Source>(20);
  const Transform transform({.size = 4});
  const auto order = epoch_order(20, 5, 2);
  size_t position = 0;
  for (const ImageBatch& batch : all_batches(Loader(source, transform, order, {.batch_size = 6, .workers = 2}))) {
    ASSERT_EQ(batch.images.scalar_type(), at::kFloat);
    ASSERT_EQ(batch.labels.scalar_type(), at::kLong);
    for (size_t i = 0; i < batch.indices.size(); ++i, ++position) {
      const int64_t index = order[position], row = static_cast<int64_t>(i);
      EXPECT_EQ(batch.indices[i], index);
      EXPECT_EQ(batch.labels[row].item<int64_t>(), index % 7);
      EXPECT_TRUE(at::equal(batch.images[row], transform(source->load(index))));
    }
  }
  EXPECT_EQ(position, 20u);
}

TEST(Loader, AnImagesDrawsDependOnSeedAndIndexAlone) {
  const auto source = std::make_shared<Source>(64);
  const auto images = [&](std::vector<int64_t> order, uint64_t seed) {
    return all_batches(Loader(source, kRandom, std::move(order), {.batch_size = 64, .seed = seed})).at(0).images;
  };
  auto reversed = sequential_order(64);
  std::reverse(reversed.begin(), reversed.end());
  EXPECT_TRUE(at::equal(images(sequential_order(64), 1), images(reversed, 1).flip(0)));
  EXPECT_FALSE(at::equal(images(sequential_order(64), 1), images(sequential_order(64), 2)));
}

TEST(Loader, NamesTheImageThatCannotBeTransformed) {
  const Transform impossible({.size = 30000, .resize_size = 1 << 16});
  Loader loader(std::make_shared<Source>(3), impossible, {2}, {.batch_size = 1, .workers = 1});
  expect_error<std::runtime_error>([&] { loader.next(); }, {"2: ", "refused"});
}

TEST(Loader, GoesNoFurtherAheadThanTold) {
  const auto source = std::make_shared<Source>(100);
  Loader loader(source, kRandom, sequential_order(100), {.batch_size = 5, .workers = 3, .ahead = 2});
  for (int taken = 0; taken < 3; ++taken) {
    while (source->loads < (taken + 2) * 5) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(source->loads, (taken + 2) * 5);
    loader.next();
  }
}

TEST(Loader, WorkersWorkAtOnce) {
  std::atomic<int> inside = 0;
  std::atomic<bool> together = false;
  const auto source = std::make_shared<Source>(2, [&](int64_t) {
    ++inside;
    for (int i = 0; i < 2000 && !together; ++i) {
      if (inside == 2) together = true;
      std::this_thread::sleep_for(1ms);
    }
  });
  Loader loader(source, kRandom, sequential_order(2), {.batch_size = 2, .workers = 2});
  EXPECT_TRUE(loader.next().has_value());
  EXPECT_TRUE(together);
}

TEST(Loader, AFailureReachesItsBatchAndStays) {
  const auto source = std::make_shared<Source>(20, [](int64_t i) {
    if (i == 9) std::this_thread::sleep_for(20ms);  // the earlier image fails later
    if (i == 9 || i == 11) throw std::runtime_error("image " + std::to_string(i) + " is corrupt");
  });
  for (int64_t workers : {0, 1, 4}) {
    Loader loader(source, kRandom, sequential_order(20), {.batch_size = 4, .workers = workers});
    EXPECT_EQ(loader.next()->indices.front(), 0);
    EXPECT_EQ(loader.next()->indices.front(), 4);
    for (int i = 0; i < 2; ++i) expect_error<std::runtime_error>([&] { loader.next(); }, {"image 9 is corrupt"});
  }
}

TEST(Loader, MayBeDestroyedAtAnyMoment) {
  const auto source = std::make_shared<Source>(1000, [](int64_t) { std::this_thread::sleep_for(1ms); });
  for (int taken = 0; taken < 4; ++taken) {
    for (int64_t workers : {0, 1, 4}) {
      Loader loader(source, kRandom, sequential_order(1000), {.batch_size = 4, .workers = workers, .ahead = 2});
      for (int i = 0; i < taken; ++i) loader.next();
      Loader moved = std::move(loader);
      EXPECT_EQ(moved.next()->indices.front(), taken * 4);
    }
  }
  EXPECT_LT(source->loads, 1000);
}

TEST(Loader, CountsTheTimeWaited) {
  const auto source = std::make_shared<Source>(4, [](int64_t) { std::this_thread::sleep_for(10ms); });
  Loader loader(source, kRandom, sequential_order(4), {.batch_size = 2, .workers = 0});
  EXPECT_EQ(loader.wait_seconds(), 0);
  loader.next();
  EXPECT_GE(loader.wait_seconds(), 0.02);
  loader.next();
  EXPECT_GE(loader.wait_seconds(), 0.04);
}

TEST(Loader, DoesNotWaitForWhatIsReady) {
  const auto source = std::make_shared<Source>(4, [](int64_t) { std::this_thread::sleep_for(100ms); });
  Loader loader(source, kRandom, sequential_order(4), {.batch_size = 2, .workers = 2});
  loader.next();
  const double once = loader.wait_seconds();
  while (source->loads < 4) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(20ms);
  loader.next();
  EXPECT_LT(loader.wait_seconds(), once + 0.1);
}

TEST(Loader, AnEmptyOrderHasNoBatches) {
  Loader loader(std::make_shared<Source>(3), kRandom, {});
  EXPECT_EQ(loader.batches(), 0);
  EXPECT_FALSE(loader.next().has_value());
}

TEST(Loader, TheLargestBatchSizeIsOneBatch) {
  const LoaderOptions options{.batch_size = std::numeric_limits<int64_t>::max()};
  const auto batches = all_batches(Loader(std::make_shared<Source>(3), kRandom, sequential_order(3), options));
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].indices, sequential_order(3));
}

TEST(Loader, RefusesWrongArguments) {
  const auto make = [](std::vector<int64_t> order, LoaderOptions options) {
    Loader(std::make_shared<Source>(3), kRandom, std::move(order), options);
  };
  expect_error<std::invalid_argument>([&] { make({0, 3}, {}); }, {"image 3", "of 3"});
  expect_error<std::invalid_argument>([&] { make({-1}, {}); }, {"image -1"});
  expect_error<std::invalid_argument>([&] { make({0}, {.batch_size = 0}); }, {"batch size 0"});
  expect_error<std::invalid_argument>([&] { make({0}, {.workers = -1}); }, {"-1 workers"});
  expect_error<std::invalid_argument>([&] { make({0}, {.ahead = 0}); }, {"0 batches ahead"});
}

}  // namespace
}  // namespace respeft::data
