#pragma once

#include <zlib.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace respeft::formats {

/// A file in a zip archive.
struct ZipEntry {
  uint64_t data = 0;        ///< where its bytes begin in the archive
  uint64_t compressed = 0;  ///< bytes in the archive
  uint64_t size = 0;        ///< bytes of the file itself
  uint32_t crc = 0;
  bool deflated = false;
};

/// The directory of a zip archive that lies in memory, zip64 too. The archive is treated as hostile: every size and offset is
/// checked here, entries may not overlap, and none may claim more bytes than deflate can make of its compressed ones.
/// Source: PKWARE's APPNOTE.TXT.
class ZipArchive {
 public:
  /// `bytes` must outlive the archive. Throws `std::runtime_error` naming `path`, the entry and the fault.
  ZipArchive(std::string_view bytes, const std::string& path);

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }
  const std::map<std::string, ZipEntry>& entries() const { return entries_; }
  /// Throws `std::runtime_error` naming file and entry if there is none.
  const ZipEntry& entry(const std::string& name) const;

 private:
  std::string_view bytes_;
  std::string path_;
  std::map<std::string, ZipEntry> entries_;
};

/// Reads an entry from its beginning on. Throws `std::runtime_error` naming file, entry and fault.
class ZipStream {
 public:
  ZipStream(const ZipArchive& archive, const std::string& name);
  ZipStream(const ZipStream&) = delete;
  ZipStream& operator=(const ZipStream&) = delete;
  ~ZipStream();

  /// What the entry's directory says is still to be read, in bytes.
  uint64_t left() const { return left_; }
  /// The next bytes, which must be there.
  void read(void* target, uint64_t bytes);
  /// All that is left. Throws also if the entry goes on, or its bytes are not those of its checksum.
  std::string rest();
  /// Throws if anything is left, or the entry's bytes are not those of its checksum.
  void finish();

 private:
  [[noreturn]] void fail(const std::string& fault) const;
  void inflate_into(uint8_t* target, uint64_t bytes);

  const ZipArchive& archive_;
  std::string name_;
  ZipEntry entry_;
  uint64_t left_, taken_ = 0;  ///< of the file's bytes; of the archive's
  uint32_t crc_ = 0;
  z_stream inflater_ = {};
};

}  // namespace respeft::formats
