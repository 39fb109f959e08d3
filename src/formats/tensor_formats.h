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
/// `state_dict`: the name of the dictionary in a checkpoint to open, perhaps with dots between nested ones; empty: the only one.
/// Where the checkpoint has no such dictionary, `rest` receives the name and the only one is opened.
std::unique_ptr<TensorFile> open_pytorch(OpenArchive archive, const std::string& state_dict, std::string& rest);
std::unique_ptr<TensorFile> open_index(const std::string& path);
/// Opens any of these except an index; `state_dict` as in `open_tensor_file`.
std::unique_ptr<TensorFile> open_shard(const std::string& path, const std::string& state_dict = "");

}  // namespace respeft::formats
