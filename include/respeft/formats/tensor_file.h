#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <respeft/formats/safetensors.h>

// Published weights in any supported format. Files are not trusted: nothing in them is executed, every size and offset is checked
// before use, and no more memory is allocated than the file's own size justifies.
namespace respeft::formats {

/// Named tensors in one file or in several.
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
  /// The files that hold the tensors, and the index file if there is one.
  const std::vector<std::string>& files() const { return files_; }
  /// The metadata of a safetensors file; empty for other formats.
  const Metadata& metadata() const { return metadata_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  bool contains(const std::string& key) const { return entries_.count(key) != 0; }

  /// Reads one tensor. Tensors that share memory in the file may share it here. Throws `std::runtime_error` that names the file,
  /// the key and the fault.
  at::Tensor tensor(const std::string& key) const;
  TensorMap tensors() const;
  /// Tensors of the same names, dtypes and shapes on the meta device, without data.
  TensorMap shapes() const;

 protected:
  TensorFile(std::string path, std::string format);
  /// Reads the tensor `key`, which is one of the entries.
  virtual at::Tensor read(const std::string& key) const = 0;

  std::string path_, format_;
  std::vector<std::string> files_;
  Metadata metadata_;
  std::map<std::string, Entry> entries_;
};

/// Opens the weights at `path`. The format is recognized from the content, not the file name:
/// - safetensors;
/// - NumPy's `.npz`, stored or deflated;
/// - PyTorch's zip files (`.pth`, `.pt`, `.bin`), whose pickle may contain only tensors and plain containers. If the file is a
///   checkpoint, opens the model's state dict in it (`model`, `state_dict`, `teacher`, …);
/// - an index of shards (`*.index.json`), or a folder with one of Hugging Face's file names.
/// If the file contains several state dicts, `state_dict` chooses one: the name of a dictionary in a PyTorch checkpoint, or a
/// prefix of tensor names (without the final dot), which is then removed from the names.
/// Throws `std::runtime_error` that names the file, the key and the fault. For a file of another kind (a Git LFS pointer, a web
/// page, HDF5, GGUF, msgpack), the message says what it is.
std::unique_ptr<TensorFile> open_tensor_file(const std::string& path, const std::string& state_dict = "");

/// SHA-256 of the weights at `path`, in hexadecimal: of the file, or for several files of the list of their names and hashes. If
/// `state_dict` is given, it is hashed too, so each state dict of a file has its own hash. Throws as `open_tensor_file`.
std::string weights_sha256(const std::string& path, const std::string& state_dict = "");
/// The same for an open file.
std::string weights_sha256(const TensorFile& file, const std::string& state_dict = "");

}  // namespace respeft::formats
