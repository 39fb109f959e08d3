#include <cstdint>
#include <optional>

#include "src/data/image/codecs.h"

namespace respeft::data {
namespace {

constexpr uint32_t kOrientationTag = 0x0112;
constexpr uint32_t kShort = 3, kLong = 4;  // TIFF's field types
constexpr size_t kEntryBytes = 12;

/// Reads integers in the byte order that TIFF's first two bytes say; 0 beyond the end.
struct TiffReader {
  std::string_view bytes;
  bool big_endian;

  uint32_t integer(size_t offset, size_t size) const {
    if (offset > bytes.size() || size > bytes.size() - offset) return 0;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t shift = 8 * (big_endian ? size - 1 - i : i);
      value |= uint32_t{static_cast<uint8_t>(bytes[offset + i])} << shift;
    }
    return value;
  }
};

/// What the first directory's entry says, sense or not; nothing where it has none.
std::optional<uint32_t> tiff_orientation(std::string_view tiff) {
  if (!tiff.starts_with("II") && !tiff.starts_with("MM")) return std::nullopt;
  const TiffReader reader{tiff, tiff[0] == 'M'};
  if (reader.integer(2, 2) != 42) return std::nullopt;
  const size_t directory = reader.integer(4, 4);
  const uint32_t entries = reader.integer(directory, 2);
  for (uint32_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry > tiff.size()) break;
    if (reader.integer(entry, 2) != kOrientationTag) continue;
    const uint32_t type = reader.integer(entry + 2, 2);
    return type == kShort || type == kLong ? reader.integer(entry + 8, type == kShort ? 2 : 4) : 0;
  }
  return std::nullopt;
}

/// The first `tiff:Orientation="6"` or `<tiff:Orientation>6`.
std::optional<uint32_t> xmp_orientation(std::string_view xmp) {
  constexpr std::string_view name = "tiff:Orientation";
  for (size_t at = xmp.find(name); at != std::string_view::npos; at = xmp.find(name, at + 1)) {
    std::string_view rest = xmp.substr(at + name.size());
    rest.remove_prefix(rest.starts_with("=\"") ? 2 : rest.starts_with(">") ? 1 : rest.size());
    if (!rest.empty() && rest[0] >= '0' && rest[0] <= '9') return static_cast<uint32_t>(rest[0] - '0');
  }
  return std::nullopt;
}

}  // namespace

int exif_orientation(std::string_view tiff, std::string_view xmp) {
  auto value = tiff_orientation(tiff);
  if (!value) value = xmp_orientation(xmp);
  return value && *value >= 1 && *value <= 8 ? static_cast<int>(*value) : 1;
}

}  // namespace respeft::data
