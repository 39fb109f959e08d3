#pragma once

#include <cstddef>
#include <cstring>
#include <string>

namespace respeft::cuda::test {

/// Bytes in the middle of a block of memory, between zones that nobody may write. Whoever reads those finds NaNs in every dtype,
/// and so in the bytes themselves until they are written.
class Guarded {
 public:
  static constexpr size_t kZone = 4096;

  static size_t block_bytes(size_t bytes, size_t offset) { return 2 * kZone + offset + bytes; }

  /// `block` holds block_bytes(bytes, offset) and is aligned to 256 bytes; `offset` shifts the first byte from such a boundary.
  Guarded(void* block, size_t bytes, size_t offset)
      : block_(static_cast<unsigned char*>(block)), first_(kZone + offset), bytes_(bytes) {
    for (size_t i = 0; i < block_bytes(bytes_, first_ - kZone); ++i) block_[i] = pattern(i);
    std::memset(data(), 0xff, bytes_);
  }

  unsigned char* data() const { return block_ + first_; }

  /// Where the zones were written, or nothing.
  std::string fault() const {
    for (size_t i = 0; i < block_bytes(bytes_, first_ - kZone); ++i) {
      if (i == first_) i += bytes_;
      if (block_[i] == pattern(i)) continue;
      return i < first_ ? "written " + std::to_string(first_ - i) + " bytes before its begin"
                        : "written " + std::to_string(i - first_ - bytes_) + " bytes after its end";
    }
    return "";
  }

 private:
  static unsigned char pattern(size_t i) { return i % 2 == 0 ? 0xe5 : 0xff; }  // 0xffe5: a NaN of its own

  unsigned char* block_;
  size_t first_, bytes_;
};

}  // namespace respeft::cuda::test
