#include <respeft/data/image/augment.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "src/data/distributions.h"
#include "tests/expect_error.h"

namespace respeft::data {
namespace {

using test::expect_error;

using Pixels = std::vector<uint8_t>;

constexpr Rgb kFill = {9, 8, 7};

Image pattern(int64_t width, int64_t height) {
  Image image(width, height);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) image.row(y)[x * 3 + c] = static_cast<uint8_t>(x * 37 + y * 59 + c * 101 + x * y * 7);
    }
  }
  return image;
}

// Expected pixels were computed by timm 1.0.31 on Pillow 13.0.0. More images and arguments: tests/interop/test_augment.py.
TEST(Operations, AreTimms) {
  const Image image = pattern(4, 3);
  EXPECT_EQ(auto_contrast(image).pixels,
            (Pixels{0,   94,  214, 42,  135, 254, 85,  175, 16, 128, 215, 56,  68,  159, 0,   119, 207, 47,
                    170, 254, 95,  221, 23,  143, 136, 223, 64, 195, 0,   119, 255, 55,  175, 17,  111, 231}));
  EXPECT_EQ(posterize(image, 2).pixels,
            (Pixels{0,   64,  192, 0,   128, 192, 64, 128, 0,  64,  192, 0,  0,   128, 0,   64, 192, 0,
                    128, 192, 64,  128, 0,   128, 64, 192, 64, 128, 0,   64, 192, 64,  128, 0,  64,  192}));
  EXPECT_EQ(solarize(image, 100).pixels, (Pixels{0, 154, 53, 37, 117, 16,  74, 80, 20, 144, 43,  57, 59, 95, 5,  152, 51, 49, 108,
                                                 7, 93,  64, 36, 118, 137, 36, 64, 86, 14,  140, 35, 65, 89, 15, 139, 38}));
  EXPECT_EQ(solarize_add(image, 60).pixels,
            (Pixels{60,  161, 202, 97,  138, 239, 134, 175, 80,  171, 212, 117, 119, 160, 65,  163, 204, 109,
                    147, 248, 153, 191, 96,  137, 178, 219, 124, 169, 74,  175, 220, 125, 166, 75,  176, 217}));
  EXPECT_EQ(adjust_color(image, 0.3).pixels,
            (Pixels{57,  87,  118, 94,  124, 155, 111, 141, 94,  148, 178, 131, 96,  126, 79,  140, 170, 123,
                    184, 214, 167, 123, 76,  106, 155, 185, 138, 101, 54,  84,  152, 105, 135, 72,  102, 133}));
  EXPECT_EQ(adjust_contrast(image, 1.7).pixels,
            (Pixels{0,   83,  255, 0,   146, 255, 37,  209, 0,  100, 255, 8,   12,  183, 0,   86, 255, 0,
                    161, 255, 69,  236, 0,   144, 112, 255, 20, 199, 0,   107, 255, 22,  194, 0,  109, 255}));
  EXPECT_EQ(adjust_brightness(image, 1.4).pixels,
            (Pixels{0,   141, 255, 51,  193, 255, 103, 245, 28, 155, 255, 79,  82,  224, 7,   144, 255, 68,
                    205, 255, 130, 255, 50,  191, 165, 255, 89, 236, 19,  161, 255, 91,  232, 21,  162, 255}));
  EXPECT_EQ(adjust_sharpness(image, 1.9).pixels,
            (Pixels{0,   101, 202, 37,  138, 239, 74,  175, 20, 111, 212, 57,  59,  160, 5,   103, 239, 13,
                    165, 255, 75,  191, 36,  137, 118, 219, 64, 169, 14,  115, 220, 65,  166, 15,  116, 217}));
  EXPECT_EQ(rotate(image, 20, Filter::bilinear, kFill).pixels,
            (Pixels{16,  117, 218, 50,  151, 157, 102, 185, 48, 156, 111, 102, 32,  133, 109, 93,  194, 81,
                    158, 215, 104, 108, 84,  173, 84,  185, 30, 138, 103, 84,  201, 46,  147, 103, 93,  194}));
  EXPECT_EQ(rotate(image, 20, Filter::bicubic, kFill).pixels,
            (Pixels{3,   104, 255, 46,  145, 167, 108, 195, 22, 192, 79, 97, 24,  128, 103, 86, 218, 74,
                    166, 229, 110, 118, 65,  183, 85,  202, 0,  133, 99, 67, 244, 0,   150, 99, 94,  210}));
  EXPECT_EQ(affine(image, {1, 0.3, 0, 0, 1, 0}, Filter::bicubic, kFill).pixels,
            (Pixels{4,   105, 211, 45,  146, 209, 83,  184, 1,  115, 216, 61,  73, 174, 19,  123, 253, 69,
                    172, 158, 118, 196, 7,   142, 149, 58,  95, 238, 35,  148, 68, 105, 206, 9,   8,   7}));
}

TEST(Operations, NothingToDo) {
  const Image image = pattern(9, 5), flat = posterize(image, 0);
  EXPECT_EQ(invert(invert(image)), image);
  EXPECT_EQ(posterize(image, 8), image);
  EXPECT_EQ(solarize(image, 256), image);
  EXPECT_EQ(adjust_color(image, 1), image);
  EXPECT_EQ(adjust_contrast(image, 1), image);
  EXPECT_EQ(adjust_sharpness(image, 1), image);
  EXPECT_EQ(rotate(image, 720, Filter::bicubic, kFill), image);
  EXPECT_EQ(rotate(rotate(image, 180, Filter::bicubic, kFill), -180, Filter::bilinear, kFill), image);
  EXPECT_EQ(flat.pixels, Pixels(image.pixels.size(), 0));
  EXPECT_EQ(auto_contrast(flat), flat);
  EXPECT_EQ(equalize(flat), flat);
}

TEST(Operations, WhatComesFromOutsideIsFilled) {
  const Image out = affine(pattern(5, 4), {1, 0, 1e30, 0, 1, 0}, Filter::bicubic, kFill);
  for (size_t i = 0; i < out.pixels.size(); ++i) EXPECT_EQ(out.pixels[i], kFill[i % 3]);
  EXPECT_EQ(affine(pattern(5, 4), {NAN, 0, 0, 0, NAN, 0}, Filter::bilinear, kFill), out);
}

TEST(FillColor, RoundsAsPython) {
  EXPECT_EQ(fill_color({0.485, 0.456, 0.406}), (Rgb{124, 116, 104}));
  EXPECT_EQ(fill_color({0.5, 0.0, 1.0}), (Rgb{128, 0, 255}));
}

// -------------------------------------------------------------------------------------------------------------- RandAugment

bool operator==(const RandAugment::Step& a, const RandAugment::Step& b) {
  return a.operation == b.operation && a.argument == b.argument && a.filter == b.filter;
}

TEST(RandAugment, DrawsDependOnTheGeneratorAlone) {
  const RandAugment augment("rand-m9-n3-mstd0.5-inc1");
  std::mt19937_64 a(5), b(5);
  std::set<Operation> seen;
  for (int i = 0; i < 200; ++i) {
    const auto steps = augment.draw(a);
    EXPECT_LE(steps.size(), 3u);
    EXPECT_TRUE(std::ranges::equal(steps, augment.draw(b), [](const auto& x, const auto& y) { return x == y; }));
    for (const auto& step : steps) seen.insert(step.operation);
  }
  EXPECT_EQ(seen.size(), 15u);
}

TEST(RandAugment, AppliesItsStepsInOrder) {
  const RandAugment augment("rand-p1-n4-m7", kFill);
  const Image image = pattern(12, 10);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 a(seed), b(seed);
    Image expected = image;
    for (const auto& step : augment.draw(a)) expected = augment.apply(expected, step);
    EXPECT_EQ(augment(image, b), expected);
  }
}

TEST(RandAugment, TheFilterMayBeFixed) {
  std::mt19937_64 generator(1);
  const RandAugment fixed("rand-p1", kFill, Filter::bicubic), drawn("rand-p1", kFill);
  std::map<Filter, int> moved;
  for (int i = 0; i < 300; ++i) {
    for (const auto& step : fixed.draw(generator)) EXPECT_EQ(step.filter, Filter::bicubic);
    for (const auto& step : drawn.draw(generator)) moved[step.filter] += step.operation == Operation::rotate;
  }
  EXPECT_GT(moved[Filter::bilinear], 0);
  EXPECT_GT(moved[Filter::bicubic], 0);
}

TEST(RandAugment, NamesGoBothWays) {
  for (int i = 0; i < 15; ++i) {
    const auto operation = static_cast<Operation>(i);
    EXPECT_EQ(operation_from_name(to_string(operation)), operation);
  }
  expect_error<std::invalid_argument>([] { operation_from_name("Shearx"); }, {"Shearx", "did you mean 'ShearX'"});
}

TEST(RandAugment, RefusesWhatCannotBe) {
  for (const char* config : {"", "m9", "v0", "augmix-m3", "rand-m9x", "rand-q3", "rand-mmax0", "rand-mstd-1", "rand-tother"}) {
    expect_error<std::invalid_argument>([&] { RandAugment{config}; }, {std::string("RandAugment '") + config + "': "});
  }
}

// ----------------------------------------------------------------------------------------------------------- random erasing

TEST(RandomErasing, KeepsToItsAreaAndShape) {
  const RandomErasing erasing({.probability = 1.0, .min_area = 0.1, .max_area = 0.2, .min_aspect = 0.5, .max_aspect = 2.0});
  std::mt19937_64 generator(3);
  double smallest = 1.0, largest = 0.0;
  for (int i = 0; i < 1000; ++i) {
    const auto boxes = erasing.draw(100, 120, generator);
    ASSERT_EQ(boxes.size(), 1u);
    const auto& box = boxes[0];
    EXPECT_TRUE(box.top >= 0 && box.left >= 0 && box.top + box.height <= 100 && box.left + box.width <= 120);
    const double area = static_cast<double>(box.height * box.width) / 12000.0;
    const double aspect = static_cast<double>(box.height) / static_cast<double>(box.width);
    EXPECT_TRUE(aspect > 0.48 && aspect < 2.08) << aspect;
    smallest = std::min(smallest, area), largest = std::max(largest, area);
  }
  EXPECT_NEAR(smallest, 0.1, 0.005);
  EXPECT_NEAR(largest, 0.2, 0.005);
}

TEST(RandomErasing, LeavesWhatIsTooSmall) {
  const RandomErasing erasing({.probability = 1.0, .min_area = 1.0, .max_area = 1.0, .min_aspect = 1.0, .max_aspect = 1.0});
  std::mt19937_64 generator(3);
  EXPECT_TRUE(erasing.draw(8, 8, generator).empty());
  EXPECT_TRUE(RandomErasing({.probability = 0.0}).draw(8, 8, generator).empty());
}

TEST(RandomErasing, RefusesWhatCannotBe) {
  const auto error = [](const RandomErasingOptions& options, const std::string& part) {
    expect_error<std::invalid_argument>([&] { RandomErasing{options}; }, {"random erasing: ", part});
  };
  error({.probability = 1.5}, "probability 1.5");
  error({.mode = "pixels"}, "did you mean 'pixel'");
  error({.min_area = 0.5, .max_area = 0.2}, "areas 0.5 … 0.2");
  error({.min_aspect = 0.0}, "aspects 0");
  error({.min_count = 0}, "counts 0 … 1");
}

// ---------------------------------------------------------------------------------------------------------------- transform

at::Tensor applied(const Transform& transform, const Image& image, uint64_t seed) {
  std::mt19937_64 generator(seed);
  at::Tensor out = at::empty({3, transform.size(), transform.size()});
  transform.apply(image, generator, out.data_ptr<float>());
  return out;
}

TEST(Transform, AugmentsTheResizedImage) {
  const data::Preprocessing preprocessing{.size = 12};
  TransformOptions options{.random_flip = true, .rand_augment = std::make_shared<RandAugment>("rand-m9-p1")};
  options.random_erasing = std::make_shared<RandomErasing>(RandomErasingOptions{.probability = 0.5});
  const Transform plain(preprocessing), augmenting(preprocessing, options);
  const Image image = pattern(31, 20);
  int changed = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const at::Tensor once = applied(augmenting, image, seed);
    EXPECT_TRUE(at::equal(once, applied(augmenting, image, seed)));
    EXPECT_TRUE(at::equal(once, applied(augmenting, augmenting.resized(image), seed))) << "not the same from the cache";
    changed += !at::equal(once, plain(image));
  }
  EXPECT_GT(changed, 45);
  EXPECT_TRUE(at::equal(augmenting(image), plain(image))) << "the deterministic transform draws nothing";
}

// ------------------------------------------------------------------------------------------------------------ distributions

/// Mean and variance of `count` draws.
template <class Draw>
std::pair<double, double> moments(int count, const Draw& draw) {
  double sum = 0.0, squares = 0.0;
  for (int i = 0; i < count; ++i) {
    const double value = draw();
    sum += value, squares += value * value;
  }
  const double mean = sum / count;
  return {mean, squares / count - mean * mean};
}

TEST(Distributions, HaveTheirMoments) {
  std::mt19937_64 generator(9);
  const auto [mean, variance] = moments(100000, [&] { return draw_normal(generator); });
  EXPECT_NEAR(mean, 0.0, 4 / std::sqrt(1e5));
  EXPECT_NEAR(variance, 1.0, 4 * std::sqrt(2 / 1e5));
  for (const auto& [a, b] : {std::pair{0.2, 0.2}, {0.8, 0.8}, {1.0, 1.0}, {2.0, 5.0}, {0.5, 3.0}}) {
    const double expected = a / (a + b), spread = a * b / ((a + b) * (a + b) * (a + b + 1));
    const auto [beta_mean, beta_variance] = moments(100000, [&, a = a, b = b] { return draw_beta(generator, a, b); });
    EXPECT_NEAR(beta_mean, expected, 4 * std::sqrt(spread / 1e5)) << a << ", " << b;
    EXPECT_NEAR(beta_variance, spread, 0.01 * spread + 1e-3) << a << ", " << b;
  }
}

/// Beta(a, a) with a tiny a is a coin: 0 or 1, never not a number.
TEST(Distributions, BetaWithATinyShape) {
  std::mt19937_64 generator(9);
  int ones = 0;
  for (int i = 0; i < 1000; ++i) {
    const double value = draw_beta(generator, 1e-8, 1e-8);
    ASSERT_TRUE(value >= 0.0 && value <= 1.0);
    ASSERT_TRUE(value < 0.01 || value > 0.99);
    ones += value > 0.5;
  }
  EXPECT_NEAR(ones, 500, 64);
}

}  // namespace
}  // namespace respeft::data
