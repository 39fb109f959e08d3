#pragma once

#include <png.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace respeft::test {

/// A PNG file of these pixels, row by row. `format`: PNG_FORMAT_RGB or PNG_FORMAT_GRAY.
inline std::string png(uint32_t width, uint32_t height, const std::vector<uint8_t>& pixels, uint32_t format = PNG_FORMAT_RGB) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width, image.height = height, image.format = format;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string bytes(size, '\0');
  if (pixels.size() != PNG_IMAGE_SIZE(image) ||
      !png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr)) {
    throw std::logic_error("not the pixels of such a PNG");
  }
  return bytes.substr(0, size);
}

}  // namespace respeft::test
