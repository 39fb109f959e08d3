#include <respeft/data/image/transforms.h>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <respeft/data/image/augment.h>

#include <respeft/core/text.h>
#include "src/data/distributions.h"
#include "src/data/random.h"

namespace respeft::data {
namespace {

bool keeps_aspect(const std::string& resize_mode) {
  if (resize_mode == "squash") return false;
  if (resize_mode == "shortest") return true;
  throw std::invalid_argument(text::unknown("resize mode", resize_mode, {"squash", "shortest"}));
}

/// Half of what is left over, an odd one rounded to the even half, as Python's `round` does.
int64_t centered(int64_t left_over) {
  const int64_t half = left_over / 2;
  return left_over % 2 == 0 ? half : half + half % 2;
}

int64_t drawn(int64_t left_over, std::mt19937_64& generator) {
  return left_over == 0 ? 0 : static_cast<int64_t>(draw_below(generator, static_cast<uint64_t>(left_over) + 1));
}

/// An image of the size that a transform resizes to: the image itself where it has that size.
class ResizedImage {
 public:
  ResizedImage(const Transform& transform, const Image& image) : image_(&image) {
    if (transform.resized_size(image) == std::array{image.width, image.height}) return;
    made_ = transform.resized(image);
    image_ = &made_;
  }
  ResizedImage(const ResizedImage&) = delete;
  ResizedImage& operator=(const ResizedImage&) = delete;

  const Image& operator*() const { return *image_; }

 private:
  Image made_;
  const Image* image_;
};

}  // namespace

Filter filter_from_name(const std::string& name) {
  if (name == "bicubic") return Filter::bicubic;
  if (name == "bilinear") return Filter::bilinear;
  throw std::invalid_argument(text::unknown("interpolation", name, {"bicubic", "bilinear"}));
}

Image flip_horizontally(const Image& image) {
  Image flipped(image.width, image.height);
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y);
    uint8_t* out = flipped.row(y) + image.width * 3;
    for (int64_t x = 0; x < image.width; ++x, in += 3) out -= 3, std::copy_n(in, 3, out);
  }
  return flipped;
}

Image crop(const Image& image, int64_t left, int64_t top, int64_t width, int64_t height) {
  if (left < 0 || top < 0 || width < 1 || height < 1 || left > image.width - width || top > image.height - height) {
    throw std::invalid_argument(fmt::format("crop: {} × {} pixels from ({}, {}) on of an image of {} × {}", width, height, left,
                                            top, image.width, image.height));
  }
  Image out(width, height);
  for (int64_t y = 0; y < height; ++y) std::copy_n(image.row(top + y) + left * 3, width * 3, out.row(y));
  return out;
}

RandomResizedCrop::Part RandomResizedCrop::draw(int64_t width, int64_t height, std::mt19937_64& generator) const {
  const auto wide = static_cast<double>(width), high = static_cast<double>(height);
  Part part{0, 0, 0, 0, Filter::bilinear};
  const auto fits = [&] {
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double area = wide * high * draw_uniform(generator, min_area, max_area);
      const double aspect = std::exp(draw_uniform(generator, std::log(min_aspect), std::log(max_aspect)));
      part.width = std::llrint(std::sqrt(area * aspect));
      part.height = std::llrint(std::sqrt(area / aspect));
      if (0 < part.width && part.width <= width && 0 < part.height && part.height <= height) return true;
    }
    return false;
  };
  if (fits()) {
    part.top = drawn(height - part.height, generator);
    part.left = drawn(width - part.width, generator);
  } else {
    part.width = std::min<int64_t>(width, std::llrint(high * max_aspect));
    part.height = std::min<int64_t>(height, std::llrint(wide / min_aspect));
    part.top = (height - part.height) / 2;
    part.left = (width - part.width) / 2;
  }
  part.filter = filter ? *filter : draw_below(generator, 2) == 0 ? Filter::bilinear : Filter::bicubic;
  return part;
}

Transform::Transform(const data::Preprocessing& preprocessing, const TransformOptions& options)
    : preprocessing_(preprocessing),
      options_(options),
      filter_(filter_from_name(preprocessing.interpolation)),
      shortest_(keeps_aspect(preprocessing.resize_mode)) {
  if (preprocessing.size < 1) throw std::invalid_argument(fmt::format("image size {}: must be at least 1", preprocessing.size));
  data::check_sizes(preprocessing);
  for (size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(preprocessing.mean[c]), std = static_cast<float>(preprocessing.std[c]);
    if (!(std > 0)) throw std::invalid_argument(fmt::format("normalization: standard deviation {} must be above 0", std));
    for (int value = 0; value < 256; ++value)
      values_[c][static_cast<size_t>(value)] = (static_cast<float>(value) / 255.0f - mean) / std;
  }
}

std::array<int64_t, 2> Transform::resized_size(const Image& image) const {
  const int64_t side = preprocessing_.resized_side();
  if (!shortest_ || image.width < 1 || image.height < 1) return {side, side};
  const auto longer = [side](int64_t length, int64_t shorter) {
    return static_cast<int64_t>(static_cast<double>(side * length) / static_cast<double>(shorter));
  };
  return image.width <= image.height ? std::array{side, longer(image.height, image.width)}
                                     : std::array{longer(image.width, image.height), side};
}

Image Transform::resized(const Image& image) const {
  const auto [width, height] = resized_size(image);
  if (width > kMaxImagePixels / height) {
    throw std::runtime_error(
        fmt::format("an image of {} × {} pixels is refused: it would become one of {} × {}, and at most {} are made", image.width,
                    image.height, width, height, kMaxImagePixels));
  }
  return resize(image, width, height, filter_);
}

Transform::Corner Transform::middle(const Image& image) const {
  return {centered(image.width - size()), centered(image.height - size())};
}

Transform::Corner Transform::anywhere(const Image& image, std::mt19937_64& generator) const {
  const int64_t top = drawn(image.height - size(), generator);
  return {drawn(image.width - size(), generator), top};
}

at::Tensor Transform::operator()(const Image& image) const {
  at::Tensor out = at::empty({3, size(), size()}, at::kFloat);
  const ResizedImage ready(*this, image);
  normalize(*ready, middle(*ready), false, out.data_ptr<float>());
  return out;
}

void Transform::apply(const Image& image, std::mt19937_64& generator, float* out) const {
  if (options_.random_resized_crop) {
    const auto part = options_.random_resized_crop->draw(image.width, image.height, generator);
    const Image cut = crop(image, part.left, part.top, part.width, part.height);
    finish(resize(cut, size(), size(), part.filter), {0, 0}, generator, out);
  } else {
    const ResizedImage ready(*this, image);
    finish(*ready, options_.random_crop ? anywhere(*ready, generator) : middle(*ready), generator, out);
  }
}

void Transform::finish(const Image& image, const Corner& corner, std::mt19937_64& generator, float* out) const {
  const bool flip = options_.random_flip && (generator() >> 63) != 0;
  if (options_.rand_augment) {
    const Image square = crop(image, corner.left, corner.top, size(), size());
    normalize((*options_.rand_augment)(flip ? flip_horizontally(square) : square, generator), {0, 0}, false, out);
  } else {
    normalize(image, corner, flip, out);
  }
  if (options_.random_erasing) (*options_.random_erasing)(out, size(), size(), generator);
}

void Transform::normalize(const Image& image, const Corner& corner, bool flip, float* out) const {
  const int64_t plane = size() * size(), first = corner.left + (flip ? size() - 1 : 0), step = flip ? -3 : 3;
  for (int64_t y = 0; y < size(); ++y, out += size()) {
    const uint8_t* in = image.row(corner.top + y) + first * 3;
    for (int64_t x = 0; x < size(); ++x, in += step) {
      out[x] = values_[0][in[0]];
      out[x + plane] = values_[1][in[1]];
      out[x + 2 * plane] = values_[2][in[2]];
    }
  }
}

}  // namespace respeft::data
