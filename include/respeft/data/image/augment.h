#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <respeft/data/image/image.h>
#include <respeft/data/image/transforms.h>

/// Augmentation of training images: RandAugment (Cubuk et al. 2020) with its image operations, and random erasing (Zhong et al.
/// 2020), both as in timm 1.0.
namespace respeft::data {

using Rgb = std::array<uint8_t, 3>;

/// Stretches each channel's values to 0 … 255: Pillow's `ImageOps.autocontrast`.
Image auto_contrast(const Image& image);
/// Equalizes each channel's histogram: Pillow's `ImageOps.equalize`.
Image equalize(const Image& image);
/// 255 - value: Pillow's `ImageOps.invert`.
Image invert(const Image& image);
/// Keeps the upper `bits` bits of each value: Pillow's `ImageOps.posterize`. 8 or more change nothing; 0 or fewer make the image
/// black, as in Pillow before version 13.
Image posterize(const Image& image, int64_t bits);
/// Inverts values of at least `threshold`: Pillow's `ImageOps.solarize`.
Image solarize(const Image& image, int64_t threshold);
/// Adds `add` (at least 0) to values below 128, up to 255.
Image solarize_add(const Image& image, int64_t add);
/// Blends with the gray image: 0 gives gray, 1 changes nothing, more than 1 strengthens the color. Pillow's `ImageEnhance.Color`.
Image adjust_color(const Image& image, double factor);
/// Blends with the mean gray: Pillow's `ImageEnhance.Contrast`.
Image adjust_contrast(const Image& image, double factor);
/// Blends with black: Pillow's `ImageEnhance.Brightness`.
Image adjust_brightness(const Image& image, double factor);
/// Blends with the smoothed image: Pillow's `ImageEnhance.Sharpness`.
Image adjust_sharpness(const Image& image, double factor);

/// Sets each pixel (x, y) to the image's value at `(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5])`, or to `fill` outside the
/// image. The values are those of Pillow's `Image.transform` with `AFFINE`: the cubic has a = -1 (unlike `resize`'s), and values
/// are truncated, not rounded.
Image affine(const Image& image, const std::array<double, 6>& m, Filter filter, const Rgb& fill);
/// Rotates counterclockwise around the center: Pillow's `Image.rotate`.
Image rotate(const Image& image, double degrees, Filter filter, const Rgb& fill);

/// The image operations of RandAugment.
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

/// The operation by timm's name without a variant's suffix, e.g. `TranslateX`. Throws `std::invalid_argument` that suggests a
/// similar name.
Operation operation_from_name(const std::string& name);
std::string to_string(Operation operation);

/// A policy that applies a few random operations to an image. Immutable: threads may share it.
class RandAugment {
 public:
  /// One operation with its drawn parameters.
  struct Step {
    Operation operation;
    double argument;  ///< degrees, bits, threshold, addend, factor, shear, or translation as a share of the side; otherwise 0
    Filter filter;    ///< interpolation of geometric operations
  };

  /// `config` has timm's syntax: `rand`, then sections in any order, joined by `-`, e.g. `rand-m9-mstd0.5-inc1`. Sections (and
  /// their defaults): `m9` magnitude of 0 … 10 (10), `n3` operations per image (2), `p0.5` probability of each (0.5), `mstd0.5`
  /// standard deviation of the magnitude (0; above 100: uniform on 0 … m), `mmax12` limit of the magnitude (10), `inc1`
  /// operations that get stronger with the magnitude (0), `tweights` timm's weighted choice of operations. `fill` is the color
  /// outside the image (timm: the mean of the normalization). Without `filter`, each step draws bilinear or bicubic. Throws
  /// `std::invalid_argument` that names the section and the fault; timm ignores some unknown sections.
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
  std::vector<double> weights_;  ///< for choosing without replacement; empty: uniform, with replacement
  Rgb fill_;
  std::optional<Filter> filter_;
};

/// timm's fill color: the mean of a normalization (of values in 0 … 1), in 8 bits.
Rgb fill_color(const std::array<double, 3>& mean);

struct RandomErasingOptions {
  double probability = 0.5;  ///< of erasing in an image
  /// Fill of erased regions (timm: remode): `const` 0, the mean of normalized values; `rand` one normal draw per channel; `pixel`
  /// one per value.
  std::string mode = "const";
  double min_area = 0.02, max_area = 1.0 / 3.0;     ///< of all rectangles together, as a share of the image
  double min_aspect = 0.3, max_aspect = 1.0 / 0.3;  ///< height / width
  int64_t min_count = 1, max_count = 1;             ///< number of rectangles
};

/// Overwrites rectangles of a normalized image. Immutable: threads may share it.
class RandomErasing {
 public:
  struct Box {
    int64_t top, left, height, width;
  };

  /// Throws `std::invalid_argument` that names the option and the fault.
  explicit RandomErasing(const RandomErasingOptions& options);

  /// Draws the rectangles for one image of `height` × `width`; none with probability 1 - `probability`. Each is drawn up to ten
  /// times, until it is smaller than the image in both dimensions.
  std::vector<Box> draw(int64_t height, int64_t width, std::mt19937_64& generator) const;
  /// Erases in `pixels [3, height, width]`.
  void operator()(float* pixels, int64_t height, int64_t width, std::mt19937_64& generator) const;

 private:
  enum class Mode { constant, color, noise };
  void fill(float* pixels, int64_t height, int64_t width, const Box& box, std::mt19937_64& generator) const;

  RandomErasingOptions options_;
  Mode mode_;
};

}  // namespace respeft::data
