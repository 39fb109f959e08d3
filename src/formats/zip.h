#pragma once

#include <zlib.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace respeft::formats {

/// A file in a zip archive.
struct ZipEntry {
  uint64_t data = 0;        ///< offset of its bytes in the archive
  uint64_t compressed = 0;  ///< size in the archive
  uint64_t size = 0;        ///< size of the file itself
  uint32_t crc = 0;
  bool deflated = false;
};

/// The directory of a zip archive in memory, zip64 included. The archive is not trusted: every size and offset is checked here,
/// entries must not overlap, and none may declare more bytes than deflate can produce from its compressed ones.
/// Source: PKWARE's APPNOTE.TXT.
class ZipArchive {
 public:
  /// `bytes` must outlive the archive. Throws `std::runtime_error` that names `path`, the entry and the fault.
  ZipArchive(std::string_view bytes, const std::string& path);

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }
  const std::map<std::string, ZipEntry>& entries() const { return entries_; }
  /// Throws `std::runtime_error` that names the file and the entry if there is none.
  const ZipEntry& entry(const std::string& name) const;

 private:
  std::string_view bytes_;
  std::string path_;
  std::map<std::string, ZipEntry> entries_;
};

/// Reads an entry sequentially. Throws `std::runtime_error` that names the file, the entry and the fault.
class ZipStream {
 public:
  ZipStream(const ZipArchive& archive, const std::string& name);
  ZipStream(const ZipStream&) = delete;
  ZipStream& operator=(const ZipStream&) = delete;
  ~ZipStream();

  /// Bytes still to be read, according to the directory.
  uint64_t left() const { return left_; }
  /// Reads the next bytes. Throws if there are fewer.
  void read(void* target, uint64_t bytes);
  /// Reads the rest. Throws also if the entry is longer than declared, or its checksum is wrong.
  std::string rest();
  /// Throws if anything is left, or the checksum is wrong.
  void finish();

 private:
  [[noreturn]] void fail(const std::string& fault) const;
  void inflate_into(uint8_t* target, uint64_t bytes);

  const ZipArchive& archive_;
  std::string name_;
  ZipEntry entry_;
  uint64_t left_, taken_ = 0;  ///< remaining bytes of the file; consumed bytes of the archive
  uint32_t crc_ = 0;
  z_stream inflater_ = {};
};

}  // namespace respeft::formats
