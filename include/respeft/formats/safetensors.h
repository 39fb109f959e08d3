#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/named_tensors.h>

namespace respeft::formats {

using Metadata = std::map<std::string, std::string>;

class MappedFile;

/// A memory-mapped safetensors file. Files are not trusted: opening one checks every size and offset.
class SafetensorsFile {
 public:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    uint64_t begin, end;  ///< byte offsets from the start of the data
  };

  /// Throws `std::runtime_error` that names the file, the key and the fault.
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  bool contains(const std::string& key) const { return entries_.count(key) != 0; }
  /// A copy of a tensor. Throws `std::runtime_error` that names the file and the key if there is none.
  at::Tensor tensor(const std::string& key) const;
  /// Copies of all tensors.
  TensorMap tensors() const;

 private:
  std::string path_;
  std::unique_ptr<MappedFile> mapping_;
  Metadata metadata_;
  std::map<std::string, Entry> entries_;
  const char* data_ = nullptr;
};

/// Writes tensors completely or not at all, in the order of element size (largest first), then of keys. Throws
/// `std::runtime_error` that names the file and the fault.
void save_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata = {});

}  // namespace respeft::formats
