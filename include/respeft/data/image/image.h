#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace respeft::data {

/// An 8-bit RGB image: `pixels[(y * width + x) * 3 + channel]`, sRGB values as in the file.
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  Image(int64_t image_width, int64_t image_height)
      : width(image_width), height(image_height), pixels(static_cast<size_t>(image_width * image_height * 3)) {}

  const uint8_t* row(int64_t y) const { return pixels.data() + y * width * 3; }
  uint8_t* row(int64_t y) { return pixels.data() + y * width * 3; }
  bool operator==(const Image&) const = default;
};

/// How an image is stored in its file.
struct ImageInfo {
  std::string format;   ///< `JPEG` or `PNG`
  std::string color;    ///< `gray`, `RGB`, `CMYK` or `palette`
  int bits = 8;         ///< of a channel, or of an index into the palette
  bool alpha = false;   ///< transparency, in whatever form
  int orientation = 1;  ///< EXIF's, 1 … 8
  std::string damage;   ///< of a JPEG that could be decoded all the same: libjpeg's first warning; empty: none

  bool operator==(const ImageInfo&) const = default;
};

/// Larger images are an error before memory is allocated for them. Pillow has the same limit.
constexpr int64_t kMaxImagePixels = 178'956'970;

/// Decodes JPEG (gray, RGB, YCbCr, CMYK, YCCK; baseline or progressive) or PNG (every color type and bit depth). The format is
/// recognized from the first bytes. The values are those of Pillow's `ImageOps.exif_transpose(Image.open(file)).convert("RGB")`:
/// slow integer DCT, fancy upsampling, orientation of EXIF or XMP applied, alpha dropped, 16 bits truncated to the upper 8. Two
/// exceptions: 16-bit gray without alpha is truncated too, where Pillow clips to 255; and JPEG's subsampled chroma is that of the
/// installed libjpeg-turbo, which may differ by 1 from another version's.
///
/// A damaged JPEG is decoded if Pillow decodes it (libjpeg fills in or skips the bad parts); it is an error if it ends before its
/// last pixel. `info`, if given, receives how the image was stored. Throws `std::runtime_error` with `name` and the fault if the
/// data are corrupt or truncated, of another format, or larger than `kMaxImagePixels`.
Image decode_image(std::string_view bytes, const std::string& name, ImageInfo* info = nullptr);

/// Reads and decodes a file. Throws `std::runtime_error` with the path and the fault.
Image read_image(const std::string& path);

}  // namespace respeft::data
