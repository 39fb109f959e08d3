#pragma once

#include <string>
#include <vector>

#include <torch/nn/module.h>

#include <respeft/core/named_tensors.h>

namespace respeft::models {

/// Result of loading weights.
struct LoadReport {
  std::string
      layout;  ///< the names in the file: of a ViT `timm`, `huggingface`, `google` or `torchvision`; `own` of other modules
  /// Keys of the model that the file lacks, which stay fresh: the head's, and with another pooling than the file's the final
  /// norm's. Loading fails on any other.
  std::vector<std::string> missing;
  std::vector<std::string> unused;   ///< keys of the file that the model has no place for: a head's, and a final norm's likewise
  bool positions_resampled = false;  ///< the position embedding was resampled to the model's grid
};

/// The number of rows of the head in tensors under our names; 0 when there is none, or one that reads nothing.
int64_t head_classes(const TensorMap& tensors);
/// The same, for a file in any recognized layout.
int64_t head_classes_of_file(const std::string& path, const std::string& state_dict = "");

/// Loads weights in any format of `formats::open_tensor_file` into a plain module. A `Model` accepts every layout that its
/// family knows; another module accepts a file with its own names, optionally with a prefix such as `module.`. A head of
/// another number of classes is left out and reported, and with it a final norm (timm's `norm` or `fc_norm`) of another
/// pooling. Throws `std::runtime_error` that names the file, the key and the fault: a key that does not match (with what was
/// expected), a wrong shape, and a configuration next to the file that describes a different computation (other heads, another
/// activation, an epsilon above 1e-6; Transformers' 1e-12 for ViT is treated as timm's 1e-6). `WeightsFile` answers more
/// questions about a file.
LoadReport load_weights(torch::nn::Module& module, const std::string& path, const std::string& state_dict = "");
LoadReport load_weights(torch::nn::Module& module, TensorMap tensors, const std::string& origin);

/// The plain module's parameters and buffers under its own names. Throws `std::invalid_argument` if an adapter is attached.
TensorMap plain_state(const torch::nn::Module& module);

/// SHA-256 over the frozen base: the plain parameters' and buffers' names, dtypes, shapes and bytes, the head and adapters left
/// out.
std::string base_sha256(const torch::nn::Module& module);

}  // namespace respeft::models
