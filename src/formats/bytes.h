#pragma once

#include <bit>
#include <concepts>
#include <cstring>
#include <string_view>

namespace respeft::formats {

static_assert(std::endian::native == std::endian::little, "numbers in files are little-endian and are read as they are");

/// The number at `position`, which must be inside.
template <std::integral Number>
Number number_at(std::string_view bytes, size_t position) {
  Number value;
  std::memcpy(&value, bytes.data() + position, sizeof(Number));
  return value;
}

/// True if `[begin, begin + size)` is inside `limit` bytes.
inline bool fits(uint64_t begin, uint64_t size, uint64_t limit) {
  return begin <= limit && size <= limit - begin;
}

}  // namespace respeft::formats
