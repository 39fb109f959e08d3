#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include <respeft/data/image/transforms.h>

#include "src/core/simd.h"

namespace respeft::data {
namespace {

/// Weights are integers in units of 2^-22: with 8-bit values, and a sum of weights that overshoots 1, sums stay within 32 bits.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr int32_t kHalf = 1 << (kFractionBits - 1);

struct Kernel {
  double radius;
  double (*weight)(double distance);
};

double triangle(double distance) {
  return std::max(0.0, 1.0 - std::abs(distance));
}

/// Keys' cubic convolution with a = -0.5, in Horner's form.
double keys_cubic(double distance) {
  constexpr double a = -0.5;
  const double t = std::abs(distance);
  if (t < 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
  if (t < 2.0) return (((t - 5.0) * t + 8.0) * t - 4.0) * a;
  return 0.0;
}

Kernel kernel_of(Filter filter) {
  return filter == Filter::bicubic ? Kernel{2.0, keys_cubic} : Kernel{1.0, triangle};
}

/// For each output position: the first input position it is made of, how many, and their weights.
struct Taps {
  std::vector<int64_t> begin, count;
  std::vector<int32_t> weights;  ///< `[output, stride]`
  int64_t stride;

  const int32_t* of(int64_t output) const { return weights.data() + output * stride; }
};

Taps make_taps(int64_t input, int64_t output, const Kernel& kernel) {
  const double scale = static_cast<double>(input) / static_cast<double>(output);
  const double stretch = std::max(scale, 1.0);
  const double radius = kernel.radius * stretch;
  Taps taps;
  taps.stride = static_cast<int64_t>(std::ceil(radius)) * 2 + 1;
  taps.weights.resize(static_cast<size_t>(output * taps.stride));
  std::vector<double> exact(static_cast<size_t>(taps.stride));
  for (int64_t x = 0; x < output; ++x) {
    const double center = (static_cast<double>(x) + 0.5) * scale;
    const auto begin = static_cast<int64_t>(std::max(center - radius + 0.5, 0.0));
    const int64_t end = std::min(static_cast<int64_t>(center + radius + 0.5), input);
    double sum = 0.0;
    for (int64_t i = begin; i < end; ++i) {
      const double weight = kernel.weight((static_cast<double>(i) - center + 0.5) * (1.0 / stretch));
      exact[static_cast<size_t>(i - begin)] = weight;
      sum += weight;
    }
    for (int64_t i = 0; i < end - begin; ++i) {
      const double fixed = exact[static_cast<size_t>(i)] / sum * (1 << kFractionBits);
      taps.weights[static_cast<size_t>(x * taps.stride + i)] = static_cast<int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5));
    }
    taps.begin.push_back(begin);
    taps.count.push_back(end - begin);
  }
  return taps;
}

inline uint8_t clamped_byte(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

/// Rows that are filtered together, so that one instruction works on several.
constexpr int64_t kRows = 8;
constexpr int64_t kLanes = kRows * 3;

/// Filters kRows rows side by side: `wide [input width, kLanes]` to `out [output width, kLanes]`.
RESPEFT_SIMD_CLONES void filter_row_group(const int32_t* wide, const Taps& taps, int64_t width, uint8_t* out) {
  for (int64_t x = 0; x < width; ++x, out += kLanes) {
    const int32_t* in = wide + taps.begin[static_cast<size_t>(x)] * kLanes;
    const int32_t* weights = taps.of(x);
    const int64_t count = taps.count[static_cast<size_t>(x)];
    int32_t sum[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) sum[i] = kHalf;
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < kLanes; ++i) sum[i] += in[j * kLanes + i] * weights[j];
    }
    for (int64_t i = 0; i < kLanes; ++i) out[i] = clamped_byte(sum[i]);
  }
}

/// Copies three-byte pixels, `from_step` and `to_step` values apart.
template <typename From, typename To>
void copy_pixels(const From* from, int64_t from_step, To* to, int64_t to_step, int64_t count) {
  for (int64_t i = 0; i < count; ++i, from += from_step, to += to_step) to[0] = from[0], to[1] = from[1], to[2] = from[2];
}

Image resize_rows(const Image& image, int64_t width, const Kernel& kernel) {
  const Taps taps = make_taps(image.width, width, kernel);
  Image out(width, image.height);
  std::vector<int32_t> wide(static_cast<size_t>(image.width * kLanes));
  std::vector<uint8_t> filtered(static_cast<size_t>(width * kLanes));
  for (int64_t y = 0; y < image.height; y += kRows) {
    const int64_t rows = std::min(kRows, image.height - y);  // the lanes of rows that are not there are not used
    for (int64_t r = 0; r < rows; ++r) copy_pixels(image.row(y + r), 3, wide.data() + r * 3, kLanes, image.width);
    filter_row_group(wide.data(), taps, width, filtered.data());
    for (int64_t r = 0; r < rows; ++r) copy_pixels(filtered.data() + r * 3, kLanes, out.row(y + r), 3, width);
  }
  return out;
}

/// Values of a row that are summed at a time, in registers.
constexpr int64_t kStrip = 32;

RESPEFT_SIMD_CLONES void filter_column(const uint8_t* in, int64_t row_bytes, const int32_t* weights, int64_t count,
                                       uint8_t* out) {
  int64_t begin = 0;
  for (; begin + kStrip <= row_bytes; begin += kStrip) {
    int32_t sum[kStrip];
    for (int64_t i = 0; i < kStrip; ++i) sum[i] = kHalf;
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < kStrip; ++i) sum[i] += in[j * row_bytes + begin + i] * weights[j];
    }
    for (int64_t i = 0; i < kStrip; ++i) out[begin + i] = clamped_byte(sum[i]);
  }
  for (; begin < row_bytes; ++begin) {
    int32_t sum = kHalf;
    for (int64_t j = 0; j < count; ++j) sum += in[j * row_bytes + begin] * weights[j];
    out[begin] = clamped_byte(sum);
  }
}

Image resize_columns(const Image& image, int64_t height, const Kernel& kernel) {
  const Taps taps = make_taps(image.height, height, kernel);
  Image out(image.width, height);
  for (int64_t y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    filter_column(image.row(taps.begin[i]), image.width * 3, taps.of(y), taps.count[i], out.row(y));
  }
  return out;
}

/// The order that Pillow 13 chooses; earlier ones always filter rows first. Since each pass rounds to 8 bits, a value may
/// differ by a step between the two orders.
bool columns_first(const Image& image, int64_t width, int64_t height) {
  return height < image.height && image.height - height > 2 * (image.width - width);
}

}  // namespace

Image resize(const Image& image, int64_t width, int64_t height, Filter filter) {
  if (width < 1 || height < 1 || image.width < 1 || image.height < 1) {
    throw std::invalid_argument(fmt::format("resize: {} × {} pixels to {} × {}: every size must be at least 1", image.width,
                                            image.height, width, height));
  }
  const Kernel kernel = kernel_of(filter);
  if (image.width == width) return image.height == height ? image : resize_columns(image, height, kernel);
  if (image.height == height) return resize_rows(image, width, kernel);
  if (columns_first(image, width, height)) return resize_rows(resize_columns(image, height, kernel), width, kernel);
  return resize_columns(resize_rows(image, width, kernel), height, kernel);
}

}  // namespace respeft::data
