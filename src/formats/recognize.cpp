#include "src/formats/recognize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace respeft::formats {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::string_view begin;
  const char* description;
};

constexpr Signature kSignatures[] = {
    {"version https://git-lfs.github.com/spec/"sv,
     "it is a Git LFS pointer, a few lines in the place of the file; `git lfs pull` in its repository fetches the file itself"},
    {"\x89HDF\r\n\x1a\n"sv, "it is an HDF5 file, as Keras and TensorFlow write them, which is not read here"},
    {"GGUF"sv, "it is a GGUF file, llama.cpp's quantized weights, which are not read here"},
    {"\x1f\x8b"sv, "it is compressed with gzip; unpack it first"},
    {"\xfd"
     "7zXZ\0"sv,
     "it is compressed with xz; unpack it first"},
    {"7z\xbc\xaf\x27\x1c"sv, "it is a 7-Zip archive; unpack it first"},
    {"Rar!\x1a\x07"sv, "it is a RAR archive; unpack it first"},
    {"GIF8"sv, "it is a GIF image; convert it to PNG"},
    {"II*\0"sv, "it is a TIFF image; convert it to PNG"},
    {"MM\0*"sv, "it is a TIFF image; convert it to PNG"},
};

/// BMP, whose two letters alone would be little evidence, WebP and the formats of ISO media (AVIF, HEIC), whose names stand
/// behind a size.
const char* late_signature(std::string_view bytes) {
  if (bytes.starts_with("BM") && bytes.size() > 14 && bytes.substr(6, 4) == "\0\0\0\0"sv)
    return "it is a BMP image; convert it to PNG";
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return "it is a WebP image; convert it to PNG";
  const auto brand = bytes.substr(0, 12);
  if (brand.ends_with("ftypavif") || brand.ends_with("ftypavis")) return "it is an AVIF image; convert it to PNG";
  if (brand.ends_with("ftypheic") || brand.ends_with("ftypheix") || brand.ends_with("ftypmif1"))
    return "it is a HEIC image; convert it to JPEG";
  return nullptr;
}

/// Begins with one of the tags of a web page, also behind blank lines and a byte order mark.
bool is_web_page(std::string_view bytes) {
  if (bytes.starts_with("\xef\xbb\xbf")) bytes.remove_prefix(3);
  bytes = bytes.substr(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size())).substr(0, 16);
  std::string text(bytes);
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<head") ||
         text.starts_with("<?xml");
}

/// A map whose first key is a text, as Flax writes parameters.
bool is_msgpack(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() < 8) return false;
  const size_t key = at(0) > 0x80 && at(0) < 0x90 ? 1 : at(0) == 0xde ? 3 : at(0) == 0xdf ? 5 : 0;
  if (key == 0) return false;
  const bool short_text = at(key) > 0xa0 && at(key) < 0xc0, long_text = at(key) == 0xd9;
  return (short_text || long_text) && std::isprint(at(key + (long_text ? 2 : 1))) != 0;
}

bool is_tar(std::string_view bytes) {
  return bytes.size() > 262 && bytes.substr(257, 5) == "ustar";
}

}  // namespace

std::string foreign_format(std::string_view bytes) {
  for (const auto& signature : kSignatures) {
    if (bytes.starts_with(signature.begin)) return signature.description;
  }
  if (const char* image = late_signature(bytes)) return image;
  if (is_web_page(bytes))
    return "it is a web page (HTML or XML), perhaps an error's, in the place of the file; download the file itself";
  if (is_msgpack(bytes))
    return "it is a msgpack file, as Flax writes them, which is not read here; Transformers can save it as safetensors";
  if (is_tar(bytes)) return "it is a tar archive; unpack it first";
  return "";
}

std::string first_bytes(std::string_view bytes) {
  std::string text(bytes.substr(0, 16));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c > 0x7e; }, '.');
  return fmt::format("'{}'", text);
}

}  // namespace respeft::formats
