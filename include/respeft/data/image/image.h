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

/// Decodes JPEG (gray, RGB, YCbCr, CMYK, YCCK; baseline or progressive) or PNG (every color type and bit depth), told
/// apart by their first bytes, to the values of Pillow's `ImageOps.exif_transpose(Image.open(file)).convert("RGB")`:
/// slow integer DCT, fancy upsampling, EXIF's or XMP's orientation applied, alpha dropped, 16 bits cut to the upper 8. (16-bit
/// gray without alpha is cut too, where Pillow clips to 255; and JPEG's subsampled chroma is upsampled as by the libjpeg-turbo at
/// hand, whose values may be 1 off another version's.) Throws `std::runtime_error` naming `name` and the fault when the
/// data are corrupt or truncated, of another format, or larger than `kMaxImagePixels`. A damaged JPEG is decoded where Pillow
/// decodes it (libjpeg fills in or skips the bad parts), and is an error where it ends before its last pixel. `info`, where
/// given, receives how the image was stored.
Image decode_image(std::string_view bytes, const std::string& name, ImageInfo* info = nullptr);

/// Reads and decodes a file. Throws `std::runtime_error` with the path and the fault.
Image read_image(const std::string& path);

}  // namespace respeft::data
