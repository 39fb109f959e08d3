#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/preprocessing.h>
#include <respeft/models/normalization.h>

// Files that other libraries put beside weights.
namespace respeft::models {

/// Three numbers each of two members of a JSON object.
std::optional<Normalization> normalization_in(const nlohmann::json& object, const char* mean, const char* std,
                                              const std::string& source);

/// The configuration beside the weights at a path, which may be a folder. Members throw `std::runtime_error` that names file and
/// member where it cannot be taken as it is; a file that is no JSON object is one of them.
class Companions {
 public:
  explicit Companions(const std::string& path);

  /// Text and path of `config.json`; empty without one.
  const std::string& config_text() const { return config_text_; }
  const std::string& config_file() const { return config_file_; }

  /// Of Transformers' `preprocessor_config.json`, else of timm's `config.json`.
  std::optional<data::Preprocessing> preprocessing() const;
  /// The same for mean and std alone; a file that cannot be understood is passed over.
  std::optional<Normalization> normalization() const;
  /// Of the classes, by number; empty where they are only numbered.
  std::vector<std::string> class_names() const;
  /// Pixels a side that the model was made for.
  std::optional<int64_t> image_size() const;
  /// The architecture's name, in timm's files.
  std::string architecture() const;
  /// `avg` where timm's file says mean pooling; empty otherwise.
  std::string pool() const;

 private:
  const nlohmann::json* timm() const;  ///< its `pretrained_cfg`
  bool huggingface() const;
  const nlohmann::json* model_arg(const char* name) const;

  std::string config_file_, config_text_, processor_file_;
  nlohmann::json config_, processor_;  ///< null: there is none
};

}  // namespace respeft::models
