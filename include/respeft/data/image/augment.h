#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <respeft/data/image/image.h>
#include <respeft/data/image/transforms.h>

/// Random changes of training images: the image operations of RandAugment (Cubuk et al. 2020) and their policy, and random
/// erasing (Zhong et al. 2020), both as timm 1.0 defines them.
namespace respeft::data {

using Rgb = std::array<uint8_t, 3>;

/// Spreads each channel's values over 0 … 255, to the values of Pillow's `ImageOps.autocontrast`.
Image auto_contrast(const Image& image);
/// Flattens each channel's histogram: Pillow's `ImageOps.equalize`.
Image equalize(const Image& image);
/// 255 - value: Pillow's `ImageOps.invert`.
Image invert(const Image& image);
/// Keeps the upper `bits` bits of each value: Pillow's `ImageOps.posterize`; 8 or more change nothing, and 0 or fewer make the
/// image black, as they did before Pillow 13 refused them.
Image posterize(const Image& image, int64_t bits);
/// Inverts values of `threshold` and above: Pillow's `ImageOps.solarize`.
Image solarize(const Image& image, int64_t threshold);
/// Adds `add` (at least 0) to values below 128, up to 255.
Image solarize_add(const Image& image, int64_t add);
/// Blends with the gray image: 0 is gray, 1 changes nothing, more is more color. Pillow's `ImageEnhance.Color`.
Image adjust_color(const Image& image, double factor);
/// Blends with the mean gray: Pillow's `ImageEnhance.Contrast`.
Image adjust_contrast(const Image& image, double factor);
/// Blends with black: Pillow's `ImageEnhance.Brightness`.
Image adjust_brightness(const Image& image, double factor);
/// Blends with the smoothed image: Pillow's `ImageEnhance.Sharpness`.
Image adjust_sharpness(const Image& image, double factor);

/// Every pixel's center (x, y) takes the value found at `(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5])` of the image, or
/// `fill` where that lies outside. The values of Pillow's `Image.transform` with `AFFINE`, so the cubic has a = -1 (it is not
/// `resize`'s) and values are cut, not rounded.
Image affine(const Image& image, const std::array<double, 6>& m, Filter filter, const Rgb& fill);
/// Turned counter-clockwise around the center: Pillow's `Image.rotate`.
Image rotate(const Image& image, double degrees, Filter filter, const Rgb& fill);

/// What RandAugment does to images.
enum class Operation {
  auto_contrast,
  equalize,
  invert,
  rotate,
  posterize,
  solarize,
  solarize_add,
  color,
  contrast,
  brightness,
  sharpness,
  shear_x,
  shear_y,
  translate_x,
  translate_y
};

/// By its name in timm without a variant's suffix, e.g. `TranslateX`. Throws `std::invalid_argument` with what may have been
/// meant.
Operation operation_from_name(const std::string& name);
std::string to_string(Operation operation);

/// A policy that applies a few random operations to an image. Immutable, so threads may share it.
class RandAugment {
 public:
  /// One operation, with nothing left to chance.
  struct Step {
    Operation operation;
    double argument;  ///< degrees, bits, threshold, what is added, factor, shear, or share of the side to move by; else 0
    Filter filter;    ///< of the operations that move pixels
  };

  /// `config` is timm's: `rand`, then sections in any order, joined by `-`: `m9` magnitude of 0 … 10 (10 if not given), `n3`
  /// operations an image (2), `p0.5` probability of each (0.5), `mstd0.5` standard deviation of the magnitude (0; above 100:
  /// uniform on 0 … m), `mmax12` limit of the magnitude (10), `inc1` operations that get stronger with the magnitude (0),
  /// `tweights` timm's weighted choice of operations. E.g. `rand-m9-mstd0.5-inc1`. `fill` colors what comes from outside the
  /// image (timm: the mean of the normalization). Without a `filter` each step draws bilinear or bicubic.
  /// Throws `std::invalid_argument` that names the section and the fault; timm itself ignores some unknown ones.
  explicit RandAugment(const std::string& config, const Rgb& fill = {128, 128, 128}, std::optional<Filter> filter = std::nullopt);

  /// The operations for one image, in order.
  std::vector<Step> draw(std::mt19937_64& generator) const;
  Image apply(const Image& image, const Step& step) const;
  Image operator()(Image image, std::mt19937_64& generator) const;

 private:
  std::vector<size_t> choose(std::mt19937_64& generator) const;
  void read_section(const std::string& section);

  double magnitude_ = 10.0, magnitude_std_ = 0.0, magnitude_max_ = 10.0;
  double probability_ = 0.5;
  int64_t count_ = 2;
  bool increasing_ = false;
  std::vector<Operation> operations_;
  std::vector<double> weights_;  ///< of the choice, without replacement; empty: uniform, with replacement
  Rgb fill_;
  std::optional<Filter> filter_;
};

/// The color that timm fills with: the mean of a normalization (of values in 0 … 1), in 8 bits.
Rgb fill_color(const std::array<double, 3>& mean);

struct RandomErasingOptions {
  double probability = 0.5;  ///< of an image
  /// What is put in: `const` 0, the mean of normalized values; `rand` one normal draw a channel; `pixel` one a value.
  std::string mode = "const";
  double min_area = 0.02, max_area = 1.0 / 3.0;     ///< of all rectangles together, as shares of the image
  double min_aspect = 0.3, max_aspect = 1.0 / 0.3;  ///< height / width
  int64_t min_count = 1, max_count = 1;             ///< rectangles
};

/// Overwrites rectangles of a normalized image. Immutable, so threads may share it.
class RandomErasing {
 public:
  struct Box {
    int64_t top, left, height, width;
  };

  /// Throws `std::invalid_argument` that names the option and the fault.
  explicit RandomErasing(const RandomErasingOptions& options);

  /// The rectangles for one image of `height` × `width`: none in most images where the probability is low. A rectangle is drawn
  /// up to ten times, until it is smaller than the image both ways.
  std::vector<Box> draw(int64_t height, int64_t width, std::mt19937_64& generator) const;
  /// `pixels [3, height, width]`.
  void operator()(float* pixels, int64_t height, int64_t width, std::mt19937_64& generator) const;

 private:
  enum class Mode { constant, color, noise };
  void fill(float* pixels, int64_t height, int64_t width, const Box& box, std::mt19937_64& generator) const;

  RandomErasingOptions options_;
  Mode mode_;
};

}  // namespace respeft::data
