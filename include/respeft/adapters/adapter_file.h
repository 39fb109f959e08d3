#pragma once

#include <string>

#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/safetensors.h>
#include <respeft/methods/method.h>

namespace respeft::adapters {

/// The metadata of an adapter file: how its tensors are to be used.
struct AdapterInfo {
  std::string method;
  std::string model;           ///< timm's name
  Options options;             ///< the method's; a missing one has its default
  std::string weights_sha256;  ///< of the base's weights file (`base_sha256` in the file); empty: unknown
  data::Preprocessing preprocessing;
  std::vector<std::string> class_names;  ///< may be empty
  std::string pool;                      ///< the model's pooling, when it is not the name's own
};

/// The content of an adapter file: trained tensors, and how to use them.
struct AdapterFile {
  AdapterInfo info;
  TensorMap tensors;  ///< trained parameters and the adapters' buffers, under the model's names
};

/// The model's trained parameters (those that require a gradient) and its adapters' buffers, under their names.
TensorMap trained_state(const torch::nn::Module& model);

void save_adapter(const std::string& path, const AdapterFile& adapter);

/// Reads an adapter file, or an adapter in PEFT's layout (a folder; see peft.h). A file without metadata is an error unless
/// `method` is given. Throws `std::runtime_error` that names the file and the fault.
AdapterFile load_adapter(const std::string& path, const std::string& method = "", const Options& options = {});

/// Attaches the file's method to `model` and loads its tensors. Every trained parameter must be in the file, except that a
/// site the file has nothing for stays plain; a tensor without a place or of a wrong shape is an error that names it.
std::shared_ptr<Attachment> attach_adapter(torch::nn::Module& model, const AdapterFile& adapter);

}  // namespace respeft::adapters
