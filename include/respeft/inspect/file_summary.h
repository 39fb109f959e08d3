#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <respeft/formats/tensor_file.h>

namespace respeft {

/// What a file of tensors holds, without its numbers.
struct FileSummary {
  std::string path;    ///< of the tensors
  std::string format;  ///< `safetensors`, `npz` or `pytorch`
  /// What the file says about itself; before that, of an adapter in PEFT's layout, its configuration.
  std::vector<std::pair<std::string, std::string>> entries;
  std::vector<std::pair<std::string, formats::TensorFile::Entry>> tensors;
  int64_t numbers = 0;  ///< in all tensors
  int64_t bytes = 0;    ///< of all files

  std::string json;  ///< all of it as a JSON object
};

/// Describes any file or folder that `formats::open_tensor_file` opens, and adapters in PEFT's layout. Throws
/// `std::runtime_error` on a bad file.
FileSummary summarize_file(const std::string& path, const std::string& state_dict = "");

}  // namespace respeft
