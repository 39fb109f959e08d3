#pragma once

#include <string>
#include <vector>

#include <torch/nn/module.h>

#include <respeft/core/named_tensors.h>

namespace respeft::models {

/// Result of loading weights.
struct LoadReport {
  std::string layout;  ///< of the file: for a ViT `timm`, `huggingface`, `google` or `torchvision`; for other modules `own`
  /// Keys of the model that the file lacks; they keep their initial values. Only those of the head, and of the final norm if the
  /// file has a different pooling; any other missing key is an error.
  std::vector<std::string> missing;
  std::vector<std::string> unused;   ///< keys of the file that the model does not have; likewise only head and final norm
  bool positions_resampled = false;  ///< the position embedding was resampled to the model's grid
};

/// The number of classes of the head in `tensors`, which have this library's names; 0 without a head.
int64_t head_classes(const TensorMap& tensors);
/// The same for a file in any recognized layout.
int64_t head_classes_of_file(const std::string& path, const std::string& state_dict = "");

/// Loads weights in any format of `formats::open_tensor_file` into a plain module. A `Model` accepts every layout that its
/// family knows; another module accepts a file with its own names, optionally with a prefix such as `module.`. A head for a
/// different number of classes is not loaded but reported, and with it a final norm (timm's `norm` or `fc_norm`) for a different
/// pooling. Throws `std::runtime_error` that names the file, the key and the fault: a missing or unknown key, a wrong shape, or a
/// configuration next to the file that describes a different computation (number of heads, activation, an epsilon above 1e-6;
/// Transformers' 1e-12 for ViT is treated as timm's 1e-6). `WeightsFile` gives more information about a file.
LoadReport load_weights(torch::nn::Module& module, const std::string& path, const std::string& state_dict = "");
LoadReport load_weights(torch::nn::Module& module, TensorMap tensors, const std::string& origin);

/// The plain module's parameters and buffers under its own names. Throws `std::invalid_argument` if an adapter is attached.
TensorMap plain_state(const torch::nn::Module& module);

/// SHA-256 of the frozen base, in hexadecimal: names, dtypes, shapes and bytes of the parameters and buffers, except those of the
/// head and of adapters.
std::string base_sha256(const torch::nn::Module& module);

}  // namespace respeft::models
