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

/// By the name in `Preprocessing::interpolation`. Throws `std::invalid_argument` that suggests what may have been meant.
Filter filter_from_name(const std::string& name);

/// Resizes with antialiasing, to the very values of Pillow's `Image.resize`: the filter is stretched by the reduction,
/// one pass along rows and one along columns, in the order that Pillow 13 takes them, each rounded to 8 bits. Throws
/// `std::invalid_argument` on a size below 1.
Image resize(const Image& image, int64_t width, int64_t height, Filter filter);

/// The image mirrored left to right.
Image flip_horizontally(const Image& image);

/// The `width` × `height` pixels whose first is (left, top). Throws `std::invalid_argument` where the image does not hold them.
Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height);

/// Cuts a part of random size and aspect ratio out of an image, anywhere, and resizes it to a square: torchvision's
/// `RandomResizedCrop`, and timm's with the filter drawn too. The areas' bounds are shares of the image's; the aspect ratio is
/// width by height, its logarithm uniform. After ten draws that the image does not hold, it is the largest part in the middle
/// whose aspect ratio is within the bounds.
struct RandomResizedCrop {
  double min_area = 0.08, max_area = 1.0;
  double min_aspect = 3.0 / 4.0, max_aspect = 4.0 / 3.0;
  std::optional<Filter> filter = {};  ///< none: bilinear or bicubic, drawn for each image

  struct Part {
    int64_t left, top, width, height;
    Filter filter;
  };
  Part draw(int64_t width, int64_t height, std::mt19937_64& generator) const;
};

/// What is done at random, in this order.
struct TransformOptions {
  std::optional<RandomResizedCrop> random_resized_crop = {};  ///< of the whole image, which is then not resized before
  bool random_crop = false;  ///< else cut the square out of the resized image anywhere, each place as likely, not in the middle
  bool random_flip = false;  ///< mirror left to right with probability 1/2
  std::shared_ptr<const RandAugment> rand_augment;      ///< then change the 8-bit image, if not null
  std::shared_ptr<const RandomErasing> random_erasing;  ///< and last erase parts of the normalized one, if not null
};

/// Makes a model's input of an image: resize and cut out size × size, or the other way round; perhaps mirror and augment; to
/// floats in 0…1, then `(value - mean) / std`; perhaps erase. That is the order of timm's `create_transform`, with the values of
/// torchvision's `Resize`, `CenterCrop`, `ToTensor`, `Normalize` on a Pillow image. Immutable, so threads may share it.
class Transform {
 public:
  /// Throws `std::invalid_argument` on a size below 1, a `resize_size` that is too small for it, a standard deviation that is
  /// not above 0, or an unknown filter or way to resize.
  explicit Transform(const data::Preprocessing& preprocessing, const TransformOptions& options = {});

  const data::Preprocessing& preprocessing() const { return preprocessing_; }
  int64_t size() const { return preprocessing_.size; }

  /// The deterministic transform: float32 `[3, size, size]`, nothing random.
  at::Tensor operator()(const Image& image) const;
  /// The transform with its random parts drawn from `generator`, written to `out`: `3 * size * size` floats.
  void apply(const Image& image, std::mt19937_64& generator, float* out) const;
  /// Whether the transform makes the same of a `resized` image as of the image itself, so that it may be kept for repeated use.
  bool reads_resized() const { return !options_.random_resized_crop; }
  /// The resize alone. Throws `std::runtime_error` where keeping the aspect of a very long image would give it more than
  /// `kMaxImagePixels`.
  Image resized(const Image& image) const;
  /// Width and height that an image is resized to: torchvision's, which cuts the fraction off the longer side.
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
  bool shortest_;                                 ///< the shorter side is resized to what `preprocessing_` says, not both
  std::array<std::array<float, 256>, 3> values_;  ///< the normalized value of each channel's 8-bit value
};

}  // namespace respeft::data
