#include <png.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "src/data/image/codecs.h"

namespace respeft::data {
namespace {

/// libpng leaves by longjmp: the functions that call it hold nothing with a destructor, and return false on an error.
class PngReader {
 public:
  explicit PngReader(std::string_view bytes) : bytes_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ ? png_create_info_struct(png_) : nullptr;
    end_ = info_ ? png_create_info_struct(png_) : nullptr;
    if (!end_) {
      png_destroy_read_struct(&png_, &info_, &end_);
      throw std::bad_alloc();
    }
    png_set_read_fn(png_, this, on_read);
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, &end_); }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_info(png_, info_);
    color_type_ = png_get_color_type(png_, info_);
    bit_depth_ = png_get_bit_depth(png_, info_);
    transparent_ = (color_type_ & PNG_COLOR_MASK_ALPHA) != 0 || png_get_valid(png_, info_, PNG_INFO_tRNS) != 0;
    png_set_expand(png_);    // palette and 1, 2, 4 bits to 8; transparency to alpha
    png_set_strip_16(png_);  // the upper 8 bits
    png_set_strip_alpha(png_);
    png_set_gray_to_rgb(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  bool read_pixels(uint8_t** rows) {
    if (setjmp(png_jmpbuf(png_))) return false;
    png_read_image(png_, rows);
    png_read_end(png_, end_);
    return true;
  }

  int64_t width() const { return png_get_image_width(png_, info_); }
  int64_t height() const { return png_get_image_height(png_, info_); }
  ImageInfo stored() const {
    const bool palette = color_type_ == PNG_COLOR_TYPE_PALETTE, gray = (color_type_ & PNG_COLOR_MASK_COLOR) == 0;
    return {"PNG", palette ? "palette" : gray ? "gray" : "RGB", bit_depth_, transparent_};
  }
  size_t row_bytes() const { return png_get_rowbytes(png_, info_); }

  int orientation() const {
    std::string_view exif, xmp;
    std::string profile;  // where older programs put EXIF data
    for (png_infop info : {info_, end_}) {
      png_uint_32 size = 0;
      png_bytep data = nullptr;
      if (png_get_eXIf_1(png_, info, &size, &data) != 0) exif = {reinterpret_cast<const char*>(data), size};
      png_textp texts = nullptr;
      const int count = png_get_text(png_, info, &texts, nullptr);
      for (int i = 0; i < count; ++i) {
        const std::string_view key = texts[i].key, text(texts[i].text, std::max(texts[i].text_length, texts[i].itxt_length));
        if (key == "XML:com.adobe.xmp") xmp = text;
        if (key == "Raw profile type exif") profile = from_raw_profile(text);
      }
    }
    return exif_orientation(exif.empty() ? profile : exif, xmp);
  }

  const char* message() const { return message_; }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* self = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(self->message_, sizeof self->message_, "%s", message);
    png_longjmp(png, 1);
  }

  static void on_warning(png_structp, png_const_charp) {}

  /// The bytes of `\nexif\n LENGTH\nHEXADECIMAL DIGITS`, without EXIF's header.
  static std::string from_raw_profile(std::string_view text) {
    for (int line = 0; line < 3; ++line) {
      const size_t end = text.find('\n');
      text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
    std::string digits, bytes;
    std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](unsigned char c) { return std::isxdigit(c) != 0; });
    for (size_t i = 0; i + 1 < digits.size(); i += 2) bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return bytes.starts_with(kExifHeader) ? bytes.substr(kExifHeader.size()) : bytes;
  }

  static void on_read(png_structp png, png_bytep out, size_t size) {
    auto* self = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > self->bytes_.size() - self->position_) png_error(png, "the file ends too early");
    std::memcpy(out, self->bytes_.data() + self->position_, size);
    self->position_ += size;
  }

  std::string_view bytes_;
  size_t position_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;            // of the chunks before the pixels
  png_infop end_ = nullptr;             // of the chunks after them
  int color_type_ = 0, bit_depth_ = 0;  // as stored
  bool transparent_ = false;
  char message_[256] = "";
};

}  // namespace

Decoded decode_png(std::string_view bytes, const std::string& name) {
  PngReader reader(bytes);
  if (!reader.read_header()) throw_corrupt(name, reader.message());
  check_dimensions(reader.width(), reader.height(), bytes.size(), name);
  Decoded decoded{Image(reader.width(), reader.height()), 1, reader.stored()};
  if (reader.row_bytes() != static_cast<size_t>(decoded.image.width) * 3) throw_corrupt(name, "unexpected row size");
  std::vector<uint8_t*> rows(static_cast<size_t>(decoded.image.height));
  for (size_t y = 0; y < rows.size(); ++y) rows[y] = decoded.image.row(static_cast<int64_t>(y));
  if (!reader.read_pixels(rows.data())) throw_corrupt(name, reader.message());
  decoded.orientation = reader.orientation();
  return decoded;
}

}  // namespace respeft::data
