#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <respeft/data/image/image.h>

namespace respeft::data {

/// An image as it is stored, and how it is to be turned.
struct Decoded {
  Image image;
  int orientation = 1;  ///< EXIF's, 1 … 8
  ImageInfo info = {};  ///< all but the orientation
};

/// Both throw `std::runtime_error` naming `name` and the fault.
Decoded decode_jpeg(std::string_view bytes, const std::string& name);
Decoded decode_png(std::string_view bytes, const std::string& name);

/// Throws unless 0 < width * height <= kMaxImagePixels and that many pixels can come from `compressed` bytes.
void check_dimensions(int64_t width, int64_t height, size_t compressed, const std::string& name);

/// What stands before EXIF data.
inline constexpr std::string_view kExifHeader("Exif\0\0", 6);

/// The orientation (1 … 8) in the first directory of EXIF data, a TIFF structure, or where that says nothing in the XML of XMP,
/// which is where Pillow looks, too; 1 when there is none or it makes no sense.
int exif_orientation(std::string_view tiff, std::string_view xmp = {});

[[noreturn]] void throw_corrupt(const std::string& name, const std::string& fault);

}  // namespace respeft::data
