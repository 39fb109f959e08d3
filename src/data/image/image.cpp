#include <respeft/data/image/image.h>

#include <fmt/format.h>

#include <stdexcept>

#include <respeft/formats/file.h>

#include "src/data/image/codecs.h"
#include "src/formats/recognize.h"

namespace respeft::data {
namespace {

constexpr std::string_view kJpegMagic("\xFF\xD8\xFF", 3);
constexpr std::string_view kPngMagic("\x89PNG\r\n\x1A\n", 8);

/// Deflate and Huffman codes need at least one byte for about 1032 bytes of pixels.
constexpr int64_t kMaxCompression = 1032;

/// The image turned or mirrored from the stored orientation to the upright one.
Image upright(Image image, int orientation) {
  if (orientation == 1) return image;
  const bool transposed = orientation >= 5;
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int64_t width = image.width, height = image.height;
  const int64_t step_right = from_right ? -3 : 3, step_down = from_bottom ? -width * 3 : width * 3;  // bytes, in the stored image
  const int64_t step_x = transposed ? step_down : step_right, step_y = transposed ? step_right : step_down;
  const uint8_t* origin = image.pixels.data() + (from_right ? (width - 1) * 3 : 0) + (from_bottom ? (height - 1) * width * 3 : 0);
  Image turned(transposed ? height : width, transposed ? width : height);
  uint8_t* out = turned.pixels.data();
  for (int64_t y = 0; y < turned.height; ++y) {
    for (int64_t x = 0; x < turned.width; ++x, out += 3) {
      const uint8_t* in = origin + y * step_y + x * step_x;
      out[0] = in[0], out[1] = in[1], out[2] = in[2];
    }
  }
  return turned;
}

}  // namespace

void throw_corrupt(const std::string& name, const std::string& fault) {
  throw std::runtime_error(fmt::format("{}: corrupt image: {}", name, fault));
}

void check_dimensions(int64_t width, int64_t height, size_t compressed, const std::string& name) {
  if (width < 1 || height < 1) throw_corrupt(name, fmt::format("its size is {} × {}", width, height));
  if (width > kMaxImagePixels / height) {
    throw std::runtime_error(
        fmt::format("{}: an image of {} × {} pixels is refused: at most {} are read", name, width, height, kMaxImagePixels));
  }
  if (width * height / 8 / kMaxCompression > static_cast<int64_t>(compressed)) {  // 1-bit pixels at the least
    throw_corrupt(name, fmt::format("{} × {} pixels cannot come from {} bytes", width, height, compressed));
  }
}

Image decode_image(std::string_view bytes, const std::string& name, ImageInfo* info) {
  Decoded decoded;
  if (bytes.starts_with(kJpegMagic)) {
    decoded = decode_jpeg(bytes, name);
  } else if (bytes.starts_with(kPngMagic)) {
    decoded = decode_png(bytes, name);
  } else {
    if (bytes.empty()) throw std::runtime_error(name + ": the file is empty");
    const std::string known = formats::foreign_format(bytes);
    throw std::runtime_error(fmt::format("{}: neither a JPEG nor a PNG image{}", name, known.empty() ? "" : ": " + known));
  }
  if (info) {
    *info = std::move(decoded.info);
    info->orientation = decoded.orientation;
  }
  return upright(std::move(decoded.image), decoded.orientation);
}

Image read_image(const std::string& path) {
  return decode_image(formats::read_file(path), path);
}

}  // namespace respeft::data
