#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <random>
#include <string>

#include <respeft/data/image.h>
#include <respeft/io/preprocessing.h>

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

struct TransformOptions {
  bool random_crop =
      false;  ///< cut the model's square out of the resized image anywhere, each place as likely, not in the middle
  bool random_flip = false;                             ///< mirror left to right with probability 1/2
  std::shared_ptr<const RandAugment> rand_augment;      ///< then change the 8-bit image, if not null
  std::shared_ptr<const RandomErasing> random_erasing;  ///< and last erase parts of the normalised one, if not null
};

/// Makes a model's input of an image: resize, cut out size × size, perhaps mirror and augment, to floats in 0…1, then
/// `(value - mean) / std`, perhaps erase: the order of timm's `create_transform`, and the values of torchvision's `Resize`,
/// `CenterCrop`, `ToTensor`, `Normalize` on a Pillow image. Immutable, so threads may share it.
class Transform {
 public:
  /// Throws `std::invalid_argument` on a size below 1, a `resize_size` that is too small for it, a standard deviation that is
  /// not above 0, or an unknown filter or way to resize.
  explicit Transform(const io::Preprocessing& preprocessing, const TransformOptions& options = {});

  const io::Preprocessing& preprocessing() const { return preprocessing_; }
  int64_t size() const { return preprocessing_.size; }

  /// The deterministic transform: float32 `[3, size, size]`, nothing random.
  at::Tensor operator()(const Image& image) const;
  /// The transform with its random parts drawn from `generator`, written to `out`: `3 * size * size` floats.
  void apply(const Image& image, std::mt19937_64& generator, float* out) const;
  /// The resize alone, for those who keep images for repeated use: the transform makes the same of its result. Throws
  /// `std::runtime_error` where keeping the aspect of a very long image would give it more than `kMaxImagePixels`.
  Image resized(const Image& image) const;
  /// Width and height that an image is resized to: torchvision's, which cuts the fraction off the longer side.
  std::array<int64_t, 2> resized_size(const Image& image) const;

 private:
  struct Corner {
    int64_t left, top;
  };
  Corner middle(const Image& image) const;
  Corner anywhere(const Image& image, std::mt19937_64& generator) const;
  void normalise(const Image& image, const Corner& corner, bool flip, float* out) const;

  io::Preprocessing preprocessing_;
  TransformOptions options_;
  Filter filter_;
  bool shortest_;                                 ///< the shorter side is resized to what `preprocessing_` says, not both
  std::array<std::array<float, 256>, 3> values_;  ///< the normalised value of each channel's 8-bit value
};

}  // namespace respeft::data
