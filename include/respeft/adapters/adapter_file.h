#pragma once

#include <string>

#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/safetensors.h>
#include <respeft/methods/method.h>

namespace respeft::adapters {

/// The metadata of an adapter file.
struct AdapterInfo {
  std::string method;
  std::string model;           ///< timm's name
  Options options;             ///< of the method; missing ones have their defaults
  std::string weights_sha256;  ///< of the base's weights file (`base_sha256` in the file); empty: unknown
  data::Preprocessing preprocessing;
  std::vector<std::string> class_names;  ///< may be empty
  std::string pool;                      ///< the model's pooling, if it is not the architecture's default
};

/// The content of an adapter file.
struct AdapterFile {
  AdapterInfo info;
  TensorMap tensors;  ///< trained parameters and the adapters' buffers, under the model's names
};

/// The model's trained parameters (those that require a gradient) and its adapters' buffers, under their names.
TensorMap trained_state(const torch::nn::Module& model);

/// Writes an adapter file completely or not at all. Throws `std::runtime_error` with the path and the system's reason.
void save_adapter(const std::string& path, const AdapterFile& adapter);

/// Reads an adapter file, or an adapter in PEFT's layout (a folder; see peft.h). A file without metadata is an error unless
/// `method` is given. Throws `std::runtime_error` that names the file and the fault.
AdapterFile load_adapter(const std::string& path, const std::string& method = "", const Options& options = {});

/// Attaches the file's method to `model` and loads its tensors. Sites without any tensor in the file get no adapter; a head that
/// the file lacks keeps its values. Throws `std::runtime_error` that names the tensor if another trainable parameter is missing,
/// or if a tensor is unknown or has a wrong shape.
std::shared_ptr<Attachment> attach_adapter(torch::nn::Module& model, const AdapterFile& adapter);

}  // namespace respeft::adapters
