#include "src/formats/zip.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "src/formats/bytes.h"

namespace respeft::formats {
namespace {

constexpr uint32_t kEndMark = 0x06054b50, kEnd64Mark = 0x06064b50, kLocatorMark = 0x07064b50, kEntryMark = 0x02014b50,
                   kLocalMark = 0x04034b50;
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kEntryBytes = 46, kLocalBytes = 30;
constexpr uint64_t kElsewhere = 0xffffffff;  ///< the number is in the zip64 field
/// Deflate's shortest code expands 2 bits to 258 bytes.
constexpr uint64_t kMaxCompression = 1032;

/// Position of the archive's directory, and its number of entries.
struct Directory {
  uint64_t begin = 0, size = 0, count = 0;
};

/// An entry with the position of its local header, which precedes its data.
struct Placed {
  std::string name;
  uint64_t header = 0;
  uint16_t method = 0;
  ZipEntry entry;
};

[[noreturn]] void fail(const std::string& path, const std::string& fault) {
  throw std::runtime_error(fmt::format("{}: {}", path, fault));
}

/// Finds the end record, which only a comment of up to 64 KiB may follow.
size_t find_end(std::string_view bytes, const std::string& path) {
  const size_t first = bytes.size() > kEndBytes + 0xffff ? bytes.size() - kEndBytes - 0xffff : 0;
  for (size_t at = bytes.size() < kEndBytes ? 0 : bytes.size() - kEndBytes + 1; at-- > first;) {
    if (number_at<uint32_t>(bytes, at) == kEndMark && at + kEndBytes + number_at<uint16_t>(bytes, at + 20) == bytes.size()) {
      return at;
    }
  }
  fail(path, "the zip archive has no directory at its end: it is cut off or damaged");
}

Directory find_directory(std::string_view bytes, const std::string& path) {
  const size_t end = find_end(bytes, path);
  Directory directory{number_at<uint32_t>(bytes, end + 16), number_at<uint32_t>(bytes, end + 12),
                      number_at<uint16_t>(bytes, end + 10)};
  uint64_t limit = end;
  if (end >= kLocatorBytes && number_at<uint32_t>(bytes, end - kLocatorBytes) == kLocatorMark) {
    limit = number_at<uint64_t>(bytes, end - kLocatorBytes + 8);
    if (!fits(limit, kEnd64Bytes, end - kLocatorBytes) || number_at<uint32_t>(bytes, limit) != kEnd64Mark) {
      fail(path, "the zip archive's 64-bit end record is not where it should be");
    }
    directory = {number_at<uint64_t>(bytes, limit + 48), number_at<uint64_t>(bytes, limit + 40),
                 number_at<uint64_t>(bytes, limit + 32)};
  }
  if (!fits(directory.begin, directory.size, limit) || directory.count > directory.size / kEntryBytes) {
    fail(path, fmt::format("the zip archive's directory of {} entries and {} bytes at {} does not fit the file", directory.count,
                           directory.size, directory.begin));
  }
  return directory;
}

/// Replaces numbers equal to `kElsewhere` by those of the zip64 field among the `extra` fields.
void read_zip64(std::string_view extra, std::initializer_list<uint64_t*> numbers) {
  for (size_t at = 0; at + 4 <= extra.size();) {
    const auto id = number_at<uint16_t>(extra, at), size = number_at<uint16_t>(extra, at + 2);
    at += 4;
    if (size > extra.size() - at) return;
    size_t field = at;
    for (uint64_t* number : numbers) {
      if (id != 1 || *number != kElsewhere || field + sizeof(uint64_t) > at + size) continue;
      *number = number_at<uint64_t>(extra, field);
      field += sizeof(uint64_t);
    }
    at += size;
  }
}

/// Reads one record of the directory and advances `at` past it.
Placed read_record(std::string_view directory, size_t& at, const std::string& path) {
  if (!fits(at, kEntryBytes, directory.size()) || number_at<uint32_t>(directory, at) != kEntryMark) {
    fail(path, "the zip archive's directory is damaged");
  }
  const auto name = number_at<uint16_t>(directory, at + 28), extra = number_at<uint16_t>(directory, at + 30),
             comment = number_at<uint16_t>(directory, at + 32);
  if (!fits(at + kEntryBytes, uint64_t{name} + extra + comment, directory.size())) {
    fail(path, "the zip archive's directory is cut off");
  }
  Placed placed;
  placed.name = directory.substr(at + kEntryBytes, name);
  placed.header = number_at<uint32_t>(directory, at + 42);
  placed.method = number_at<uint16_t>(directory, at + 10);
  placed.entry.compressed = number_at<uint32_t>(directory, at + 20);
  placed.entry.size = number_at<uint32_t>(directory, at + 24);
  placed.entry.crc = number_at<uint32_t>(directory, at + 16);
  placed.entry.deflated = placed.method == 8;
  read_zip64(directory.substr(at + kEntryBytes + name, extra), {&placed.entry.size, &placed.entry.compressed, &placed.header});
  if ((number_at<uint16_t>(directory, at + 8) & 1) != 0) fail(path, fmt::format("'{}': it is encrypted", placed.name));
  at += kEntryBytes + name + extra + comment;
  return placed;
}

/// Finds the entry's data, which must end no later than `limit`.
void place(Placed& placed, std::string_view bytes, uint64_t limit, const std::string& path) {
  const auto refuse = [&](const std::string& fault) { fail(path, fmt::format("'{}': {}", placed.name, fault)); };
  ZipEntry& entry = placed.entry;
  if (placed.method != 0 && placed.method != 8) {
    refuse(fmt::format("it is compressed by method {}; stored and deflated entries are read", placed.method));
  }
  if (!fits(placed.header, kLocalBytes, limit) || number_at<uint32_t>(bytes, placed.header) != kLocalMark) {
    refuse("its header is not where the zip archive's directory says");
  }
  const auto name = number_at<uint16_t>(bytes, placed.header + 26), extra = number_at<uint16_t>(bytes, placed.header + 28);
  entry.data = placed.header + kLocalBytes + name + extra;
  if (!fits(entry.data, entry.compressed, limit)) {
    refuse(fmt::format("its {} bytes at {} do not fit the file: it is cut off or damaged", entry.compressed, entry.data));
  }
  if (bytes.substr(placed.header + kLocalBytes, name) != placed.name ||
      number_at<uint16_t>(bytes, placed.header + 8) != placed.method) {
    refuse("its header and the zip archive's directory differ");
  }
  if (entry.deflated ? entry.size / kMaxCompression > entry.compressed : entry.size != entry.compressed) {
    refuse(fmt::format("{} bytes cannot come from {}", entry.size, entry.compressed));
  }
}

}  // namespace

ZipArchive::ZipArchive(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {
  const Directory directory = find_directory(bytes, path);
  std::vector<Placed> all;
  size_t at = 0;
  for (uint64_t i = 0; i < directory.count; ++i) {
    all.push_back(read_record(bytes.substr(directory.begin, directory.size), at, path));
    place(all.back(), bytes, directory.begin, path);
  }
  std::sort(all.begin(), all.end(), [](const Placed& a, const Placed& b) { return a.header < b.header; });
  uint64_t covered = 0;
  for (const auto& placed : all) {
    if (placed.header < covered) fail(path, fmt::format("'{}': it overlaps another entry of the zip archive", placed.name));
    covered = placed.entry.data + placed.entry.compressed;
    if (!entries_.emplace(placed.name, placed.entry).second) fail(path, fmt::format("'{}': it is there twice", placed.name));
  }
}

const ZipEntry& ZipArchive::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail(path_, fmt::format("there is no '{}' in it", name));
  return found->second;
}

ZipStream::ZipStream(const ZipArchive& archive, const std::string& name)
    : archive_(archive),
      name_(name),
      entry_(archive.entry(name)),
      left_(entry_.size),
      crc_(static_cast<uint32_t>(::crc32(0, nullptr, 0))) {
  if (entry_.deflated && ::inflateInit2(&inflater_, -MAX_WBITS) != Z_OK) fail("zlib cannot start");
}

ZipStream::~ZipStream() {
  if (entry_.deflated) ::inflateEnd(&inflater_);
}

void ZipStream::fail(const std::string& fault) const {
  formats::fail(archive_.path(), fmt::format("'{}': {}", name_, fault));
}

void ZipStream::read(void* target, uint64_t bytes) {
  if (bytes > left_) fail(fmt::format("it ends {} bytes too early", bytes - left_));
  if (bytes == 0) return;  // zlib would treat a null target as a reset
  auto* out = static_cast<uint8_t*>(target);
  if (entry_.deflated) {
    inflate_into(out, bytes);
  } else {
    std::memcpy(out, archive_.bytes().data() + entry_.data + taken_, bytes);
    taken_ += bytes;
  }
  crc_ = static_cast<uint32_t>(::crc32_z(crc_, out, bytes));
  left_ -= bytes;
}

void ZipStream::inflate_into(uint8_t* target, uint64_t bytes) {
  constexpr uint64_t kPiece = 1 << 30;  // zlib counts in 32 bits
  while (bytes > 0) {
    const auto in = static_cast<uInt>(std::min(entry_.compressed - taken_, kPiece)),
               out = static_cast<uInt>(std::min(bytes, kPiece));
    // zlib does not write through this pointer.
    inflater_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(archive_.bytes().data() + entry_.data + taken_));
    inflater_.avail_in = in;
    inflater_.next_out = target;
    inflater_.avail_out = out;
    const int status = ::inflate(&inflater_, Z_NO_FLUSH);
    const uint64_t made = out - inflater_.avail_out;
    taken_ += in - inflater_.avail_in;
    target += made;
    bytes -= made;
    if (status != Z_OK && !(status == Z_STREAM_END && bytes == 0)) fail("its compressed data is damaged");
  }
}

std::string ZipStream::rest() {
  std::string content(left_, '\0');
  read(content.data(), content.size());
  finish();
  return content;
}

void ZipStream::finish() {
  if (left_ > 0) fail(fmt::format("{} bytes after its end belong to nothing", left_));
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION  // a fuzzer cannot produce right checksums
  if (crc_ != entry_.crc) fail("its bytes are not those that its checksum is of: the file is damaged");
#endif
}

}  // namespace respeft::formats
