#include <csetjmp>
#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <stdexcept>

#include "src/data/image/codecs.h"

namespace respeft::data {
namespace {

/// Progressive files may repeat scans without end, each costing a pass over the whole image; encoders make about ten.
constexpr int kMaxScans = 200;

constexpr std::string_view kXmpHeader("http://ns.adobe.com/xap/1.0/\0", 29);

struct ErrorHandler {
  jpeg_error_mgr manager;  // first, so that libjpeg's pointer to it is a pointer to this
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
  char damage[JMSG_LENGTH_MAX];  ///< the first warning; empty: none
};

[[noreturn]] void on_error(j_common_ptr info) {
  auto* handler = reinterpret_cast<ErrorHandler*>(info->err);
  info->err->format_message(info, handler->message);
  std::longjmp(handler->jump, 1);
}

/// libjpeg papers over damage (level -1) and goes on, as Pillow lets it; the first is kept, but for oddities that lose no pixel
/// and that real files have.
void on_message(j_common_ptr info, int level) {
  if (level >= 0) return;
  ++info->err->num_warnings;
  switch (info->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_TOO_MUCH_DATA:
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
      return;
    default:
      auto* handler = reinterpret_cast<ErrorHandler*>(info->err);
      if (handler->damage[0] == '\0') info->err->format_message(info, handler->damage);
  }
}

// The bytes are all there are. libjpeg suspends at their end, as it does in Pillow, instead of making up an end marker: an image
// whose last rows are cut off stays an error.
void do_nothing(j_decompress_ptr) {}

boolean no_more_bytes(j_decompress_ptr) {
  return FALSE;
}

void skip_bytes(j_decompress_ptr info, long count) {
  jpeg_source_mgr& source = *info->src;
  const size_t skipped = std::min(static_cast<size_t>(std::max(count, 0L)), source.bytes_in_buffer);
  source.next_input_byte += skipped;
  source.bytes_in_buffer -= skipped;
}

void on_progress(j_common_ptr info) {
  auto* decompress = reinterpret_cast<j_decompress_ptr>(info);
  if (decompress->input_scan_number <= kMaxScans) return;
  std::snprintf(reinterpret_cast<ErrorHandler*>(info->err)->message, JMSG_LENGTH_MAX, "more than %d scans", kMaxScans);
  std::longjmp(reinterpret_cast<ErrorHandler*>(info->err)->jump, 1);
}

/// libjpeg leaves by longjmp: the functions that call it hold nothing with a destructor, and return false on an error.
class JpegReader {
 public:
  explicit JpegReader(std::string_view bytes) {
    info_.err = jpeg_std_error(&errors_.manager);
    errors_.manager.error_exit = on_error;
    errors_.manager.emit_message = on_message;
    errors_.message[0] = errors_.damage[0] = '\0';
    source_.init_source = source_.term_source = do_nothing;
    source_.fill_input_buffer = no_more_bytes;
    source_.skip_input_data = skip_bytes;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
    source_.bytes_in_buffer = bytes.size();
    progress_.progress_monitor = on_progress;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  bool read_header() {
    if (setjmp(errors_.jump)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    info_.src = &source_;
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xFFFF);
    return jpeg_read_header(&info_, TRUE) == JPEG_HEADER_OK || too_short();
  }

  /// Fills `width * height` RGB pixels; `cmyk_row` has `width * 4` bytes if the file has four components.
  bool read_pixels(uint8_t* pixels, uint8_t* cmyk_row) {
    if (setjmp(errors_.jump)) return false;
    info_.out_color_space = cmyk_row ? JCS_CMYK : JCS_RGB;
    if (!jpeg_start_decompress(&info_)) return too_short();
    while (info_.output_scanline < info_.output_height) {
      uint8_t* rgb = pixels + size_t{info_.output_scanline} * info_.output_width * 3;
      JSAMPROW row = cmyk_row ? cmyk_row : rgb;
      if (jpeg_read_scanlines(&info_, &row, 1) != 1) return too_short();
      if (cmyk_row) inverted_cmyk_to_rgb(cmyk_row, info_.output_width, rgb);
    }
    // Pillow takes an image whose rows are all there, too, where only the end marker is missing.
    if (!jpeg_finish_decompress(&info_) && errors_.damage[0] == '\0')
      std::snprintf(errors_.damage, JMSG_LENGTH_MAX, "the end marker is missing");
    return true;
  }

  int orientation() const {
    std::string_view exif, xmp;  // of several Pillow takes the first and the last
    for (auto* marker = info_.marker_list; marker; marker = marker->next) {
      const std::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (exif.empty() && data.starts_with(kExifHeader)) exif = data.substr(kExifHeader.size());
      if (data.starts_with(kXmpHeader)) xmp = data.substr(kXmpHeader.size());
    }
    return exif_orientation(exif, xmp);
  }

  const jpeg_decompress_struct& info() const { return info_; }
  const char* message() const { return errors_.message; }
  const char* damage() const { return errors_.damage; }

 private:
  bool too_short() {
    std::snprintf(errors_.message, JMSG_LENGTH_MAX, "it ends too early");
    return false;
  }

  /// Adobe stores 255 - ink. As Pillow converts: value = white left by black - ink's share of it.
  static void inverted_cmyk_to_rgb(const uint8_t* cmyk, size_t width, uint8_t* rgb) {
    for (size_t x = 0; x < width; ++x, cmyk += 4, rgb += 3) {
      for (int c = 0; c < 3; ++c) {
        const int product = (255 - cmyk[c]) * cmyk[3] + 128;
        rgb[c] = static_cast<uint8_t>(cmyk[3] - ((product + (product >> 8)) >> 8));  // product / 255, rounded
      }
    }
  }

  jpeg_decompress_struct info_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  ErrorHandler errors_;
};

}  // namespace

Decoded decode_jpeg(std::string_view bytes, const std::string& name) {
  JpegReader reader(bytes);
  if (!reader.read_header()) throw_corrupt(name, reader.message());
  const auto& info = reader.info();
  if (info.num_components == 2 || info.jpeg_color_space == JCS_UNKNOWN) {
    throw std::runtime_error(name + ": a JPEG of " + std::to_string(info.num_components) +
                             " components is not an image in color or gray");
  }
  check_dimensions(info.image_width, info.image_height, bytes.size(), name);
  Decoded decoded{Image(info.image_width, info.image_height), reader.orientation()};
  decoded.info = {"JPEG", info.num_components == 1 ? "gray" : info.num_components == 4 ? "CMYK" : "RGB", info.data_precision};
  std::vector<uint8_t> cmyk_row(info.num_components == 4 ? size_t{info.image_width} * 4 : 0);
  if (!reader.read_pixels(decoded.image.pixels.data(), cmyk_row.empty() ? nullptr : cmyk_row.data())) {
    throw_corrupt(name, reader.message());
  }
  decoded.info.damage = reader.damage();
  return decoded;
}

}  // namespace respeft::data
