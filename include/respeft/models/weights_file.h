#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <respeft/core/named_tensors.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/family.h>
#include <respeft/models/normalization.h>
#include <respeft/models/weights.h>
#include <respeft/models/weights_check.h>

namespace respeft::models {

/// A weights file (or a folder with one), opened once. Formats, layouts and errors are those of `load_weights`.
class WeightsFile {
 public:
  /// Throws `std::runtime_error` if there is no such file or it cannot be read.
  /// `state_dict` names one of several in the file, as in `formats::open_tensor_file`.
  explicit WeightsFile(const std::string& path, const std::string& state_dict = "");
  ~WeightsFile();
  WeightsFile(WeightsFile&&) noexcept;

  const std::string& path() const;
  /// `safetensors`, `npz` or `pytorch`.
  const std::string& format() const;
  /// The files that hold the tensors, and the index if there is one.
  const std::vector<std::string>& files() const;
  /// The metadata of a safetensors file; empty for other formats.
  const formats::Metadata& metadata() const;
  /// One entry of the metadata; empty if there is none.
  std::string metadata(const std::string& key) const;
  /// SHA-256 as by `formats::weights_sha256`. The first call reads the whole file.
  const std::string& sha256() const;

  // Information about the model, from the file's metadata or else from the configuration next to the file: Transformers'
  // `config.json` and `preprocessor_config.json`, timm's `config.json`. Each function throws `std::runtime_error` that names the
  // file and the member if a configuration is invalid or not supported.
  /// The architecture's name; empty: unknown.
  std::string model() const;
  /// `token` or `avg`; empty: the architecture's default.
  std::string pool() const;
  /// Names of the classes; empty: unknown.
  std::vector<std::string> class_names() const;
  std::optional<data::Preprocessing> preprocessing() const;
  /// Pixels per side of the images that the model was used with.
  std::optional<int64_t> image_size() const;
  /// The normalization that the weights were trained with: from the file, the configuration next to it, or the names of `model`
  /// (optionally with a tag such as `.augreg_in21k`) and file, as `known_normalization`.
  std::optional<Normalization> normalization(const std::string& model = "") const;

  /// The file's layout, its tensors under this library's names (without data), and the number of classes of its head. They throw
  /// `std::runtime_error` if no family knows the layout; `head_classes` also if the head is not a matrix.
  const std::string& layout() const;
  const TensorMap& shapes() const;
  int64_t head_classes() const;

  /// Compares the file with a model, which may be on `at::kMeta`.
  WeightsCheck check(const Model& model) const;
  /// Throws `std::runtime_error` as `load` would, without reading the tensors' data.
  void require_fit(const torch::nn::Module& module) const;
  LoadReport load(torch::nn::Module& module) const;

 private:
  struct Contents;
  std::unique_ptr<Contents> contents_;
};

}  // namespace respeft::models
