#include <respeft/data/transforms.h>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/data/augment.h>

#include "src/util/text.h"

namespace respeft::data {

Filter filter_from_name(const std::string& name) {
  if (name == "bicubic") return Filter::bicubic;
  if (name == "bilinear") return Filter::bilinear;
  throw std::invalid_argument(util::unknown("interpolation", name, {"bicubic", "bilinear"}));
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

Transform::Transform(const io::Preprocessing& preprocessing, const TransformOptions& options)
    : preprocessing_(preprocessing), options_(options), filter_(filter_from_name(preprocessing.interpolation)) {
  if (preprocessing.size < 1) throw std::invalid_argument(fmt::format("image size {}: must be at least 1", preprocessing.size));
  for (size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(preprocessing.mean[c]), std = static_cast<float>(preprocessing.std[c]);
    if (!(std > 0)) throw std::invalid_argument(fmt::format("normalisation: standard deviation {} must be above 0", std));
    for (int value = 0; value < 256; ++value)
      values_[c][static_cast<size_t>(value)] = (static_cast<float>(value) / 255.0f - mean) / std;
  }
}

Image Transform::resized(const Image& image) const {
  return resize(image, size(), size(), filter_);
}

at::Tensor Transform::operator()(const Image& image) const {
  at::Tensor out = at::empty({3, size(), size()}, at::kFloat);
  normalise(image, false, out.data_ptr<float>());
  return out;
}

void Transform::apply(const Image& image, std::mt19937_64& generator, float* out) const {
  const bool flip = options_.random_flip && (generator() >> 63) != 0;
  if (options_.rand_augment) {
    const Image ready = resized(image);
    normalise((*options_.rand_augment)(flip ? flip_horizontally(ready) : ready, generator), false, out);
  } else {
    normalise(image, flip, out);
  }
  if (options_.random_erasing) (*options_.random_erasing)(out, size(), size(), generator);
}

void Transform::normalise(const Image& image, bool flip, float* out) const {
  if (image.width != size() || image.height != size()) return normalise(resized(image), flip, out);
  const int64_t plane = size() * size();
  for (int64_t y = 0; y < size(); ++y, out += size()) {
    const uint8_t* in = image.row(y) + (flip ? (size() - 1) * 3 : 0);
    const int64_t step = flip ? -3 : 3;
    for (int64_t x = 0; x < size(); ++x, in += step) {
      out[x] = values_[0][in[0]];
      out[x + plane] = values_[1][in[1]];
      out[x + 2 * plane] = values_[2][in[2]];
    }
  }
}

}  // namespace respeft::data
