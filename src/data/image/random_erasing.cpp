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

constexpr int kAttempts = 10;  ///< at a rectangle that fits

}  // namespace

RandomErasing::RandomErasing(const RandomErasingOptions& options) : options_(options) {
  const auto& o = options_;
  const auto require = [](bool condition, const std::string& fault) {
    if (!condition) throw std::invalid_argument("random erasing: " + fault);
  };
  if (o.mode == "const")
    mode_ = Mode::constant;
  else if (o.mode == "rand")
    mode_ = Mode::color;
  else if (o.mode == "pixel")
    mode_ = Mode::noise;
  else
    throw std::invalid_argument("random erasing: " + text::unknown("mode", o.mode, {"const", "rand", "pixel"}));
  require(o.probability >= 0 && o.probability <= 1, fmt::format("probability {}: must be in 0 … 1", o.probability));
  require(o.min_area >= 0 && o.min_area <= o.max_area && o.max_area <= 1,
          fmt::format("areas {} … {}: must be ordered, in 0 … 1", o.min_area, o.max_area));
  require(o.min_aspect > 0 && o.min_aspect <= o.max_aspect && std::isfinite(o.max_aspect),
          fmt::format("aspects {} … {}: must be ordered and above 0", o.min_aspect, o.max_aspect));
  require(o.min_count >= 1 && o.min_count <= o.max_count,
          fmt::format("counts {} … {}: must be ordered, at least 1", o.min_count, o.max_count));
}

std::vector<RandomErasing::Box> RandomErasing::draw(int64_t height, int64_t width, std::mt19937_64& generator) const {
  const auto whole = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(draw_below(generator, static_cast<uint64_t>(high - low) + 1));
  };
  std::vector<Box> boxes;
  if (draw_uniform(generator) >= options_.probability) return boxes;
  const int64_t count = whole(options_.min_count, options_.max_count);
  const double area = static_cast<double>(height * width) / static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      const double erased = draw_uniform(generator, options_.min_area, options_.max_area) * area;
      const double aspect = std::exp(draw_uniform(generator, std::log(options_.min_aspect), std::log(options_.max_aspect)));
      const auto h = static_cast<int64_t>(std::nearbyint(std::sqrt(erased * aspect)));
      const auto w = static_cast<int64_t>(std::nearbyint(std::sqrt(erased / aspect)));
      if (h >= height || w >= width) continue;
      const int64_t top = whole(0, height - h), left = whole(0, width - w);
      boxes.push_back({top, left, h, w});
      break;
    }
  }
  return boxes;
}

void RandomErasing::operator()(float* pixels, int64_t height, int64_t width, std::mt19937_64& generator) const {
  for (const Box& box : draw(height, width, generator)) fill(pixels, height, width, box, generator);
}

void RandomErasing::fill(float* pixels, int64_t height, int64_t width, const Box& box, std::mt19937_64& generator) const {
  for (int64_t channel = 0; channel < 3; ++channel) {
    const float color = mode_ == Mode::color ? static_cast<float>(draw_normal(generator)) : 0.0f;
    for (int64_t y = box.top; y < box.top + box.height; ++y) {
      float* begin = pixels + (channel * height + y) * width + box.left;
      if (mode_ == Mode::noise) {
        std::generate_n(begin, box.width, [&] { return static_cast<float>(draw_normal(generator)); });
      } else {
        std::fill_n(begin, box.width, color);
      }
    }
  }
}

}  // namespace respeft::data
