#pragma once

#include <memory>
#include <string>

#include <respeft/formats/tensor_file.h>

// The formats of `open_tensor_file`. Each throws `std::runtime_error` that names the file, the key and the fault.
namespace respeft::formats {

class MappedFile;
class ZipArchive;

/// The bytes of a zip archive with its directory.
struct OpenArchive {
  std::shared_ptr<const MappedFile> file;
  std::shared_ptr<const ZipArchive> archive;
};

std::unique_ptr<TensorFile> open_safetensors(const std::string& path);
std::unique_ptr<TensorFile> open_npz(OpenArchive archive);
std::unique_ptr<TensorFile> open_pytorch(OpenArchive archive);
std::unique_ptr<TensorFile> open_index(const std::string& path);
/// Opens any of these except an index.
std::unique_ptr<TensorFile> open_shard(const std::string& path);

}  // namespace respeft::formats
