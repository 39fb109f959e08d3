#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <respeft/formats/safetensors.h>

// Weights as they are published, whatever they are stored in. The files are treated as hostile: nothing in them is ever executed,
// every size and offset is checked before use, and no more memory is taken than a file's own size accounts for.
namespace respeft::formats {

/// Named tensors in a file or in several.
class TensorFile {
 public:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
  };

  virtual ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  const std::string& path() const { return path_; }
  /// `safetensors`, `npz` or `pytorch`.
  const std::string& format() const { return format_; }
  /// The files that hold the tensors, and the index if there is one.
  const std::vector<std::string>& files() const { return files_; }
  /// What a safetensors file says about itself; empty for other formats.
  const Metadata& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  bool contains(const std::string& key) const { return entries_.count(key) != 0; }

  /// Reads one tensor; tensors that share memory in the file may share it here. Throws `std::runtime_error` naming file, key and
  /// fault.
  at::Tensor tensor(const std::string& key) const;
  TensorMap tensors() const;
  /// Tensors of the same names, dtypes and shapes without data, on the meta device.
  TensorMap shapes() const;

 protected:
  TensorFile(std::string path, std::string format);
  /// `key` is one of the entries.
  virtual at::Tensor read(const std::string& key) const = 0;

  std::string path_, format_;
  std::vector<std::string> files_;
  Metadata metadata_;
  std::map<std::string, Entry> entries_;
};

/// Opens what lies at `path`, told by its content and not by its name:
/// - safetensors;
/// - NumPy's `.npz`, stored or deflated;
/// - PyTorch's zip files (`.pth`, `.pt`, `.bin`), whose pickle may hold tensors and plain containers, and nothing else. Where a
///   checkpoint holds a state dict among other things (`model`, `state_dict`, `teacher`, …), that is what is opened, if there is
///   only one;
/// - the index of shards of either kind (`*.index.json`), or a folder with one of Hugging Face's file names in it.
/// Throws `std::runtime_error` that names the file, the key and the fault.
std::unique_ptr<TensorFile> open_tensor_file(const std::string& path);

/// SHA-256 of the weights at `path`, in hexadecimal: of the file, or of the list of its files' names and hashes where they are
/// several. Throws as `open_tensor_file`.
std::string weights_sha256(const std::string& path);
std::string weights_sha256(const TensorFile& file);

}  // namespace respeft::formats
