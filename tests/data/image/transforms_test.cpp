#include <respeft/data/image/transforms.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/expect_error.h"

// Expected pixels are those of Pillow 13.0.0's Image.resize. More sizes: tests/interop/test_pixels.py.
namespace respeft::data {
namespace {

using test::expect_error;

using Pixels = std::vector<uint8_t>;

Image test_pattern(int64_t width, int64_t height) {
  Image image(width, height);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      for (int64_t c = 0; c < 3; ++c) image.row(y)[x * 3 + c] = static_cast<uint8_t>(x * 37 + y * 59 + c * 101 + x * y * 7);
    }
  }
  return image;
}

TEST(Resize, ShrinksAsPillow) {
  EXPECT_EQ(resize(test_pattern(7, 5), 4, 3, Filter::bicubic).pixels,
            (Pixels{37,  150, 133, 112, 184, 77,  164, 142, 131, 139, 93,  133, 149, 121, 77,  141, 104, 165,
                    102, 157, 103, 113, 112, 112, 174, 83,  192, 99,  146, 135, 174, 130, 139, 95,  145, 169}));
  EXPECT_EQ(resize(test_pattern(7, 5), 4, 3, Filter::bilinear).pixels,
            (Pixels{46,  147, 131, 109, 179, 84,  160, 144, 128, 140, 96,  133, 142, 121, 91,  139, 110, 154,
                    107, 151, 105, 114, 114, 114, 168, 88,  182, 106, 144, 138, 169, 131, 144, 98,  145, 164}));
}

TEST(Resize, EnlargesAsPillow) {
  EXPECT_EQ(resize(test_pattern(3, 2), 5, 4, Filter::bicubic).pixels,
            (Pixels{0,   93, 216, 6,   107, 243, 31,  132, 255, 57,  158, 100, 71,  172, 0,   12,  110, 158, 24,  125,
                    182, 51, 152, 200, 78,  179, 94,  92,  193, 22,  44,  145, 43,  59,  160, 61,  89,  190, 88,  119,
                    220, 84, 135, 236, 77,  61,  162, 0,   77,  178, 0,   109, 210, 32,  140, 241, 78,  156, 255, 104}));
}

TEST(Resize, TakesColumnsFirstWherePillowDoes) {
  EXPECT_EQ(resize(test_pattern(4, 9), 3, 2, Filter::bicubic).pixels,
            (Pixels{110, 124, 120, 128, 135, 137, 120, 129, 123, 149, 99, 148, 117, 129, 141, 148, 103, 114}));
}

TEST(Resize, SameSizeIsTheSameImage) {
  EXPECT_EQ(resize(test_pattern(6, 4), 6, 4, Filter::bicubic), test_pattern(6, 4));
}

TEST(Resize, KeepsAConstantImageAtEverySize) {
  Image white(13, 7);
  std::fill(white.pixels.begin(), white.pixels.end(), 255);
  for (int64_t size = 1; size < 40; ++size) {
    for (uint8_t value : resize(white, size, 41 - size, Filter::bicubic).pixels) ASSERT_EQ(value, 255);
  }
}

TEST(Resize, RefusesEmptySizes) {
  expect_error<std::invalid_argument>([] { resize(test_pattern(2, 2), 0, 5, Filter::bicubic); }, {"2 × 2", "0 × 5"});
  expect_error<std::invalid_argument>([] { resize(Image(), 5, 5, Filter::bicubic); }, {"0 × 0"});
  expect_error<std::invalid_argument>([] { filter_from_name("bicubc"); }, {"bicubc", "did you mean 'bicubic'"});
}

TEST(Flip, MirrorsEachRow) {
  const Image image = test_pattern(5, 2), flipped = flip_horizontally(image);
  for (int64_t y = 0; y < 2; ++y) {
    for (int64_t x = 0; x < 5; ++x) {
      for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(flipped.row(y)[x * 3 + c], image.row(y)[(4 - x) * 3 + c]);
    }
  }
  EXPECT_EQ(flip_horizontally(flipped), image);
}

const data::Preprocessing kImageNet{{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, 4, "bicubic"};

TEST(Transform, NormalizesByChannel) {
  Image image(4, 4);
  image.row(1)[2 * 3 + 0] = 255, image.row(1)[2 * 3 + 1] = 128;
  const at::Tensor input = Transform(kImageNet)(image);
  ASSERT_EQ(input.sizes(), at::IntArrayRef({3, 4, 4}));
  ASSERT_EQ(input.scalar_type(), at::kFloat);
  // torchvision's ToTensor and Normalize, printed with nine digits.
  EXPECT_EQ(input[0][1][2].item<float>(), 2.24890828f);
  EXPECT_EQ(input[1][1][2].item<float>(), 0.205182195f);
  EXPECT_EQ(input[2][1][2].item<float>(), -1.80444443f);
  EXPECT_EQ(input[0][0][0].item<float>(), -2.11790395f);
}

TEST(Transform, ResizedImagesAreLeftAsTheyAre) {
  const Transform transform(kImageNet);
  const Image image = test_pattern(9, 6);
  EXPECT_TRUE(at::equal(transform(transform.resized(image)), transform(image)));
}

TEST(Transform, FlipsHalfOfTheImages) {
  const Transform transform(kImageNet, {.random_flip = true});
  const Image image = test_pattern(4, 4);
  const at::Tensor plain = transform(image), mirrored = transform(flip_horizontally(image));
  std::mt19937_64 generator(7);
  int flips = 0;
  for (int i = 0; i < 1000; ++i) {
    at::Tensor out = at::empty({3, 4, 4});
    transform.apply(image, generator, out.data_ptr<float>());
    const bool flipped = at::equal(out, mirrored);
    ASSERT_TRUE(flipped || at::equal(out, plain));
    flips += flipped;
  }
  EXPECT_NEAR(flips, 500, 64);  // four standard deviations
}

TEST(Crop, CutsOutAndRefusesWhatIsNotThere) {
  const Image image = test_pattern(6, 5), cut = crop(image, 2, 1, 3, 4);
  ASSERT_EQ(cut.width, 3);
  ASSERT_EQ(cut.height, 4);
  for (int64_t y = 0; y < 4; ++y) EXPECT_TRUE(std::equal(cut.row(y), cut.row(y) + 9, image.row(y + 1) + 6));
  expect_error<std::invalid_argument>([&] { crop(image, 4, 0, 3, 1); }, {"3 × 1", "(4, 0)", "6 × 5"});
  expect_error<std::invalid_argument>([&] { crop(image, 0, -1, 3, 1); }, {"(0, -1)"});
}

/// The square that the transform cuts out of `image`, which has the resized size already.
Image middle(const Image& image, const std::string& mode, int64_t side) {
  data::Preprocessing same_values{{0, 0, 0}, {1, 1, 1}, 4, "bilinear", side, mode};
  const at::Tensor input = Transform(same_values)(image);
  Image square(4, 4);
  for (int64_t i = 0; i < 48; ++i)
    square.pixels[static_cast<size_t>(i)] =
        static_cast<uint8_t>(std::lround(input[i % 3][i / 12][i / 3 % 4].item<float>() * 255.0f));
  return square;
}

TEST(Transform, CutsOutTheMiddleRoundedAsTorchvisionDoes) {
  EXPECT_EQ(middle(test_pattern(8, 8), "squash", 8), crop(test_pattern(8, 8), 2, 2, 4, 4));
  EXPECT_EQ(middle(test_pattern(9, 9), "squash", 9), crop(test_pattern(9, 9), 2, 2, 4, 4));       // 2.5 becomes 2
  EXPECT_EQ(middle(test_pattern(11, 11), "squash", 11), crop(test_pattern(11, 11), 4, 4, 4, 4));  // 3.5 becomes 4
  EXPECT_EQ(middle(test_pattern(5, 7), "shortest", 5), crop(test_pattern(5, 7), 0, 2, 4, 4));     // 0.5 becomes 0, 1.5 becomes 2
}

TEST(Transform, ResizesTheShorterSide) {
  const auto size = [](int64_t width, int64_t height, const std::string& mode, int64_t side) {
    return Transform({.size = 224, .resize_size = side, .resize_mode = mode}).resized_size(Image(width, height));
  };
  using Size = std::array<int64_t, 2>;
  EXPECT_EQ(size(500, 375, "squash", 256), (Size{256, 256}));
  EXPECT_EQ(size(500, 375, "squash", 0), (Size{224, 224}));
  EXPECT_EQ(size(500, 375, "shortest", 256), (Size{341, 256}));  // 341.33
  EXPECT_EQ(size(375, 500, "shortest", 256), (Size{256, 341}));
  EXPECT_EQ(size(500, 331, "shortest", 0), (Size{338, 224}));  // 338.37
  EXPECT_EQ(size(10, 10, "shortest", 256), (Size{256, 256}));
}

TEST(Transform, RefusesToMakeAHugeImageOfALongOne) {
  const Transform transform({.resize_size = 256, .resize_mode = "shortest"});
  expect_error<std::runtime_error>([&] { transform(Image(10000, 1)); }, {"10000 × 1", "2560000 × 256", "refused"});
}

TEST(Transform, KeptImagesAreCroppedAnew) {
  const Image image = test_pattern(9, 7);
  for (const char* mode : {"squash", "shortest"}) {
    const Transform transform({.size = 4, .resize_size = 6, .resize_mode = mode}, {.random_crop = true, .random_flip = true});
    const Image kept = transform.resized(image);
    EXPECT_TRUE(at::equal(transform(kept), transform(image)));
    for (uint64_t seed = 0; seed < 20; ++seed) {
      std::mt19937_64 one(seed), other(seed);
      at::Tensor from_image = at::empty({3, 4, 4}), from_kept = at::empty({3, 4, 4});
      transform.apply(image, one, from_image.data_ptr<float>());
      transform.apply(kept, other, from_kept.data_ptr<float>());
      EXPECT_TRUE(at::equal(from_image, from_kept)) << seed;
    }
  }
}

TEST(Transform, CropsEveryPlaceAsOften) {
  const data::Preprocessing preprocessing{.size = 3, .resize_size = 4, .resize_mode = "shortest"};
  const Transform transform(preprocessing, {.random_crop = true});
  const Image image = test_pattern(5, 4);  // 3 × 2 places
  const Transform plain({.size = 3});
  std::mt19937_64 generator(3);
  std::array<int, 6> counts{};
  constexpr int kDraws = 3000;
  for (int i = 0; i < kDraws; ++i) {
    at::Tensor out = at::empty({3, 3, 3});
    transform.apply(image, generator, out.data_ptr<float>());
    for (int64_t place = 0; place < 6; ++place)
      counts[static_cast<size_t>(place)] += at::equal(out, plain(crop(image, place % 3, place / 3, 3, 3)));
  }
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), kDraws);
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 6, 82);  // four standard deviations
}

// Expected: the parts that torchvision's RandomResizedCrop.get_params takes of images too long for its aspect ratios.
TEST(RandomResizedCrop, OfALongImageIsTheMiddle) {
  std::mt19937_64 generator(3);
  const auto expect_part = [&](int64_t width, int64_t height, const std::array<int64_t, 4>& expected) {
    const auto part = RandomResizedCrop{.min_area = 0.9}.draw(width, height, generator);
    EXPECT_EQ((std::array{part.left, part.top, part.width, part.height}), expected) << width << " × " << height;
  };
  expect_part(200, 30, {80, 0, 40, 30});
  expect_part(30, 200, {0, 80, 30, 40});
  expect_part(9, 1, {4, 0, 1, 1});
  expect_part(1, 1, {0, 0, 1, 1});
}

TEST(RandomResizedCrop, MakesWhatCropAndResizeMakeOfItsPart) {
  const Image image = test_pattern(40, 30);
  const RandomResizedCrop crops{.filter = Filter::bicubic};
  const data::Preprocessing preprocessing{.size = 6, .resize_size = 12};
  const Transform transform(preprocessing, {.random_resized_crop = crops}), plain({.size = 6});
  EXPECT_FALSE(transform.reads_resized());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 one(seed), other(seed);
    at::Tensor out = at::empty({3, 6, 6});
    transform.apply(image, one, out.data_ptr<float>());
    const auto part = crops.draw(40, 30, other);
    EXPECT_EQ(part.filter, Filter::bicubic);
    EXPECT_TRUE(at::equal(out, plain(resize(crop(image, part.left, part.top, part.width, part.height), 6, 6, part.filter))));
  }
  EXPECT_TRUE(at::equal(transform(image), Transform(preprocessing)(image))) << "what is not random is the same";
}

TEST(Transform, RefusesWhatCannotBe) {
  auto bad = kImageNet;
  bad.size = 0;
  expect_error<std::invalid_argument>([&] { Transform{bad}; }, {"size 0"});
  bad = kImageNet, bad.std[1] = 0;
  expect_error<std::invalid_argument>([&] { Transform{bad}; }, {"deviation 0"});
  bad = kImageNet, bad.interpolation = "nearest";
  expect_error<std::invalid_argument>([&] { Transform{bad}; }, {"nearest", "bicubic"});
  bad = kImageNet, bad.resize_size = 3;
  expect_error<std::invalid_argument>([&] { Transform{bad}; }, {"resize_size", "3 pixels", "at least 4"});
  bad = kImageNet, bad.resize_mode = "shorter";
  expect_error<std::invalid_argument>([&] { Transform{bad}; }, {"shorter", "shortest"});
}

}  // namespace
}  // namespace respeft::data
