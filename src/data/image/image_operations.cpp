#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>

#include <respeft/data/image/augment.h>

// Everything here gives the values of Pillow 13, whose arithmetic (integer tables, single precision in blends and filters, double
// precision in geometry, cut to 8 bits) is part of what an operation is.
namespace respeft::data {
namespace {

using Table = std::array<uint8_t, 256>;  ///< new value of each value
using Tables = std::array<Table, 3>;     ///< of each channel

uint8_t to_byte(double value) {
  return static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
}

Image mapped(const Image& image, const Tables& tables) {
  Image out(image.width, image.height);
  for (size_t i = 0; i < out.pixels.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) out.pixels[i + c] = tables[c][image.pixels[i + c]];
  }
  return out;
}

/// Every value replaced by `function(value)`.
template <class Function>
Image mapped(const Image& image, const Function& function) {
  Table table;
  for (int value = 0; value < 256; ++value) table[static_cast<size_t>(value)] = static_cast<uint8_t>(function(value));
  return mapped(image, Tables{table, table, table});
}

using Histogram = std::array<int64_t, 256>;

std::array<Histogram, 3> histograms(const Image& image) {
  std::array<Histogram, 3> counts{};
  for (size_t i = 0; i < image.pixels.size(); i += 3) {
    for (size_t c = 0; c < 3; ++c) ++counts[c][image.pixels[i + c]];
  }
  return counts;
}

/// The table that `make(value)` gives for each value of 0 … 255, of numbers that may lie outside.
template <class Function>
Table table_of(const Function& make) {
  Table table;
  for (int value = 0; value < 256; ++value) table[static_cast<size_t>(value)] = to_byte(static_cast<double>(make(value)));
  return table;
}

Table auto_contrast_table(const Histogram& histogram) {
  const auto counted = [](int64_t count) { return count != 0; };
  const auto low = std::find_if(histogram.begin(), histogram.end(), counted) - histogram.begin();
  const auto high = 255 - (std::find_if(histogram.rbegin(), histogram.rend(), counted) - histogram.rbegin());
  if (high <= low) return table_of([](int value) { return value; });
  const double scale = 255.0 / static_cast<double>(high - low), offset = static_cast<double>(-low) * scale;
  return table_of([&](int value) { return static_cast<int>(value * scale + offset); });
}

Table equalize_table(const Histogram& histogram) {
  int64_t pixels = 0, last = 0;
  for (const int64_t count : histogram) {
    pixels += count;
    if (count != 0) last = count;
  }
  const int64_t step = (pixels - last) / 255;
  if (step == 0) return table_of([](int value) { return value; });
  int64_t below = step / 2;
  return table_of([&](int value) {
    const int64_t equalized = below / step;
    below += histogram[static_cast<size_t>(value)];
    return equalized;
  });
}

/// `from` for a factor of 0, `to` for 1, and beyond.
uint8_t blend(int from, int to, float factor) {
  const float value = static_cast<float>(from) + factor * static_cast<float>(to - from);
  return static_cast<uint8_t>(std::clamp(value, 0.0f, 255.0f));
}

/// ITU-R 601-2 luma, in units of 2^-16.
int gray(const uint8_t* pixel) {
  return (pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + (1 << 15)) >> 16;
}

/// The 3 × 3 mean in which the middle counts five times. Pixels on the border stay.
Image smoothed(const Image& image) {
  constexpr float edge = 1.0f / 13.0f, middle = 5.0f / 13.0f;
  Image out = image;
  for (int64_t y = 1; y + 1 < image.height; ++y) {
    const uint8_t *above = image.row(y - 1), *here = image.row(y), *below = image.row(y + 1);
    uint8_t* result = out.row(y);
    for (int64_t i = 3; i < (image.width - 1) * 3; ++i) {
      const auto three = [i](const uint8_t* row, float weight) {
        return static_cast<float>(row[i - 3]) * edge + static_cast<float>(row[i]) * weight +
               static_cast<float>(row[i + 3]) * edge;
      };
      float sum = 0.5f;  // to round
      sum += three(below, edge);
      sum += three(here, middle);
      sum += three(above, edge);
      result[i] = static_cast<uint8_t>(std::clamp(sum, 0.0f, 255.0f));
    }
  }
  return out;
}

/// Where a sample's neighbors are: `taps` positions along each axis, held inside the image, and the sample's distance
/// from the one before it.
template <int taps>
struct Neighbors {
  std::array<int64_t, taps> at;
  double distance;

  Neighbors(double position, int64_t size, int64_t stride) {
    position -= 0.5;
    const double before = std::floor(position);
    distance = position - before;
    for (int i = 0; i < taps; ++i)
      at[static_cast<size_t>(i)] = std::clamp<int64_t>(static_cast<int64_t>(before) - (taps / 2 - 1) + i, 0, size - 1) * stride;
  }
};

struct Linear {
  static constexpr int taps = 2;
  static double interpolate(const std::array<double, 2>& v, double d) { return v[0] + (v[1] - v[0]) * d; }
};

/// Cubic convolution with a = -1.
struct Cubic {
  static constexpr int taps = 4;
  static double interpolate(const std::array<double, 4>& v, double d) {
    const double p1 = v[1];
    const double p2 = -v[0] + v[2];
    const double p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
    const double p4 = -v[0] + v[1] - v[2] + v[3];
    return p1 + d * (p2 + d * (p3 + d * p4));
  }
};

template <class Kernel>
void sample(const Image& image, double x, double y, uint8_t* out) {
  const Neighbors<Kernel::taps> columns(x, image.width, 3), rows(y, image.height, image.width * 3);
  for (int64_t c = 0; c < 3; ++c) {
    std::array<double, Kernel::taps> along_y;
    for (size_t j = 0; j < along_y.size(); ++j) {
      std::array<double, Kernel::taps> along_x;
      for (size_t i = 0; i < along_x.size(); ++i) along_x[i] = image.pixels[static_cast<size_t>(rows.at[j] + columns.at[i] + c)];
      along_y[j] = Kernel::interpolate(along_x, columns.distance);
    }
    out[c] = to_byte(Kernel::interpolate(along_y, rows.distance));
  }
}

/// To 15 decimals as Python's `round` does: to the decimal number that is nearest to the exact value.
double round_to_15_decimals(double value) {
  const std::string text = fmt::format("{:.15f}", value);
  double rounded = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  return rounded;
}

}  // namespace

Image auto_contrast(const Image& image) {
  const auto counts = histograms(image);
  return mapped(image, Tables{auto_contrast_table(counts[0]), auto_contrast_table(counts[1]), auto_contrast_table(counts[2])});
}

Image equalize(const Image& image) {
  const auto counts = histograms(image);
  return mapped(image, Tables{equalize_table(counts[0]), equalize_table(counts[1]), equalize_table(counts[2])});
}

Image invert(const Image& image) {
  return mapped(image, [](int value) { return 255 - value; });
}

Image posterize(const Image& image, int64_t bits) {
  const int64_t cleared = 8 - std::clamp<int64_t>(bits, 0, 8);
  return mapped(image, [&](int value) { return value >> cleared << cleared; });
}

Image solarize(const Image& image, int64_t threshold) {
  return mapped(image, [&](int value) { return value < threshold ? value : 255 - value; });
}

Image solarize_add(const Image& image, int64_t add) {
  return mapped(image, [&](int value) { return value < 128 ? std::min<int64_t>(255, value + add) : value; });
}

Image adjust_color(const Image& image, double factor) {
  Image out(image.width, image.height);
  for (size_t i = 0; i < out.pixels.size(); i += 3) {
    const int luma = gray(&image.pixels[i]);
    for (size_t c = 0; c < 3; ++c) out.pixels[i + c] = blend(luma, image.pixels[i + c], static_cast<float>(factor));
  }
  return out;
}

Image adjust_contrast(const Image& image, double factor) {
  int64_t sum = 0;
  for (size_t i = 0; i < image.pixels.size(); i += 3) sum += gray(&image.pixels[i]);
  const auto count = static_cast<double>(image.width * image.height);
  const int mean = count > 0 ? static_cast<int>(static_cast<double>(sum) / count + 0.5) : 0;
  return mapped(image, [&](int value) { return blend(mean, value, static_cast<float>(factor)); });
}

Image adjust_brightness(const Image& image, double factor) {
  return mapped(image, [&](int value) { return blend(0, value, static_cast<float>(factor)); });
}

Image adjust_sharpness(const Image& image, double factor) {
  Image out = smoothed(image);
  for (size_t i = 0; i < out.pixels.size(); ++i)
    out.pixels[i] = blend(out.pixels[i], image.pixels[i], static_cast<float>(factor));
  return out;
}

Image affine(const Image& image, const std::array<double, 6>& m, Filter filter, const Rgb& fill) {
  Image out(image.width, image.height);
  const auto width = static_cast<double>(image.width), height = static_cast<double>(image.height);
  uint8_t* pixel = out.pixels.data();
  for (int64_t row = 0; row < image.height; ++row) {
    for (int64_t column = 0; column < image.width; ++column, pixel += 3) {
      const double x_out = static_cast<double>(column) + 0.5, y_out = static_cast<double>(row) + 0.5;
      const double x = m[0] * x_out + m[1] * y_out + m[2], y = m[3] * x_out + m[4] * y_out + m[5];
      if (!(x >= 0.0 && x < width && y >= 0.0 && y < height)) {
        std::copy(fill.begin(), fill.end(), pixel);
      } else if (filter == Filter::bicubic) {
        sample<Cubic>(image, x, y, pixel);
      } else {
        sample<Linear>(image, x, y, pixel);
      }
    }
  }
  return out;
}

Image rotate(const Image& image, double degrees, Filter filter, const Rgb& fill) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0.0) turn += 360.0;
  const double angle = -(turn * (std::numbers::pi / 180.0));
  const double cosine = round_to_15_decimals(std::cos(angle)), sine = round_to_15_decimals(std::sin(angle));
  const double x = static_cast<double>(image.width) / 2, y = static_cast<double>(image.height) / 2;
  const double dx = cosine * -x + sine * -y + 0.0 + x, dy = -sine * -x + cosine * -y + 0.0 + y;
  return affine(image, {cosine, sine, dx, -sine, cosine, dy}, filter, fill);
}

}  // namespace respeft::data
