#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include <respeft/data/image/image.h>
#include <respeft/data/image/preprocessing.h>

namespace respeft::data {

class RandAugment;    // augment.h
class RandomErasing;  // augment.h

/// The filter of a resize: Pillow's `BILINEAR` (triangle) and `BICUBIC` (Keys, a = -0.5).
enum class Filter { bilinear, bicubic };

/// The filter by its name in `Preprocessing::interpolation`. Throws `std::invalid_argument` that suggests a similar name.
Filter filter_from_name(const std::string& name);

/// Resizes with antialiasing, bit-identical to Pillow's `Image.resize`: the filter is stretched by the reduction factor, with one
/// pass along rows and one along columns, in Pillow 13's order, each rounded to 8 bits. Throws `std::invalid_argument` on a size
/// below 1.
Image resize(const Image& image, int64_t width, int64_t height, Filter filter);

/// Mirrors the image left to right.
Image flip_horizontally(const Image& image);

/// The `width` × `height` pixels from (left, top) on. Throws `std::invalid_argument` if they are not inside the image.
Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

/// Crops a region of random position, area and aspect ratio and resizes it to a square: torchvision's `RandomResizedCrop`, or
/// timm's, which draws the filter too. Areas are shares of the image's area; the aspect ratio is width / height, and its
/// logarithm is uniform. After ten draws that do not fit into the image, takes the largest center crop with an aspect ratio
/// within the bounds.
struct RandomResizedCrop {
  double min_area = 0.08, max_area = 1.0;
  double min_aspect = 3.0 / 4.0, max_aspect = 4.0 / 3.0;
  std::optional<Filter> filter = {};  ///< none: draws bilinear or bicubic for each image

  struct Part {
    int64_t left, top, width, height;
    Filter filter;
  };
  Part draw(int64_t width, int64_t height, std::mt19937_64& generator) const;
};

/// The random parts of a transform, in this order.
struct TransformOptions {
  std::optional<RandomResizedCrop> random_resized_crop = {};  ///< of the original image, instead of resizing it
  bool random_crop = false;  ///< otherwise: crop the resized image anywhere (uniformly) instead of in the center
  bool random_flip = false;  ///< mirror left to right with probability 1/2
  std::shared_ptr<const RandAugment> rand_augment;      ///< of the 8-bit image; may be null
  std::shared_ptr<const RandomErasing> random_erasing;  ///< of the normalized image; may be null
};

/// Turns an image into a model's input: resize and crop to size × size (or crop and resize), optionally mirror and augment, scale
/// to 0…1, normalize by `(value - mean) / std`, optionally erase. The order is that of timm's `create_transform`, the values
/// those of torchvision's `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on a Pillow image. Immutable: threads may share it.
class Transform {
 public:
  /// Throws `std::invalid_argument` on a size below 1, a `resize_size` below it, a standard deviation that is not positive, or an
  /// unknown filter or resize mode.
  explicit Transform(const data::Preprocessing& preprocessing, const TransformOptions& options = {});

  const data::Preprocessing& preprocessing() const { return preprocessing_; }
  int64_t size() const { return preprocessing_.size; }

  /// The transform without its random parts: float32 `[3, size, size]`.
  at::Tensor operator()(const Image& image) const;
  /// The transform with its random parts, drawn from `generator`. Writes `3 * size * size` floats to `out`.
  void apply(const Image& image, std::mt19937_64& generator, float* out) const;
  /// True if the transform gives the same for a `resized` image as for the original, so that resized images can be cached.
  bool reads_resized() const { return !options_.random_resized_crop; }
  /// Only resizes. Throws `std::runtime_error` if keeping the aspect ratio of a very long image would give more than
  /// `kMaxImagePixels`.
  Image resized(const Image& image) const;
  /// Width and height after resizing. As in torchvision, the longer side is rounded down.
  std::array<int64_t, 2> resized_size(const Image& image) const;

 private:
  struct Corner {
    int64_t left, top;
  };
  Corner middle(const Image& image) const;
  Corner anywhere(const Image& image, std::mt19937_64& generator) const;
  void finish(const Image& image, const Corner& corner, std::mt19937_64& generator, float* out) const;
  void normalize(const Image& image, const Corner& corner, bool flip, float* out) const;

  data::Preprocessing preprocessing_;
  TransformOptions options_;
  Filter filter_;
  bool shortest_;                                 ///< resizes the shorter side and keeps the aspect ratio
  std::array<std::array<float, 256>, 3> values_;  ///< the normalized value of each channel's 8-bit value
};

}  // namespace respeft::data
