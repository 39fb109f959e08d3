#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace respeft::formats {

/// A regular file mapped into memory, read-only.
class MappedFile {
 public:
  /// Throws `std::runtime_error` with the path and the system's reason.
  explicit MappedFile(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace respeft::formats
