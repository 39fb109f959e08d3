#include "src/models/companions.h"

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>

#include <respeft/formats/file.h>

#include "src/formats/json.h"
#include "src/models/processors.h"

namespace respeft::models {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::optional<std::array<double, 3>> channels_in(const json& value) {
  if (!value.is_array() || value.size() != 3) return std::nullopt;
  std::array<double, 3> numbers{};
  for (size_t i = 0; i < 3; ++i) {
    if (!value[i].is_number()) return std::nullopt;
    numbers[i] = value[i].get<double>();
  }
  return numbers;
}

/// Empty where there is no such file, or a very large one.
std::string small_text(const std::string& path) {
  constexpr uintmax_t kLargest = 16 << 20;
  std::error_code none;
  return fs::is_regular_file(path, none) && fs::file_size(path, none) <= kLargest ? formats::read_file(path) : std::string();
}

const json* member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// Transformers numbers classes without a name of their own `LABEL_0`, …
bool only_numbered(const std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] != fmt::format("LABEL_{}", i)) return false;
  }
  return true;
}

}  // namespace

std::optional<Normalization> normalization_in(const json& object, const char* mean, const char* std, const std::string& source) {
  const auto *first = member(object, mean), *second = member(object, std);
  if (!first || !second) return std::nullopt;
  const auto means = channels_in(*first), stds = channels_in(*second);
  return means && stds ? std::optional(Normalization{*means, *stds, source}) : std::nullopt;
}

Companions::Companions(const std::string& path) {
  const fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  config_file_ = (folder / "config.json").string();
  processor_file_ = (folder / "preprocessor_config.json").string();
  config_text_ = small_text(config_file_);
  const auto read = [](const std::string& file, const std::string& text) -> json {
    try {
      return text.empty() ? json() : formats::parse_json(text);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}: {}", file, error.what()));
    }
  };
  config_ = read(config_file_, config_text_);
  processor_ = read(processor_file_, small_text(processor_file_));
}

const json* Companions::timm() const {
  return member(config_, "pretrained_cfg");
}

bool Companions::huggingface() const {
  return member(config_, "model_type") != nullptr;
}

const json* Companions::model_arg(const char* name) const {
  const auto* args = member(config_, "model_args");
  return args ? member(*args, name) : nullptr;
}

std::optional<data::Preprocessing> Companions::preprocessing() const {
  if (!processor_.is_null()) return huggingface_preprocessing(processor_, processor_file_);
  if (const auto* pretrained = timm()) return timm_preprocessing(*pretrained, config_file_);
  return std::nullopt;
}

std::optional<Normalization> Companions::normalization() const {
  try {
    if (processor_.is_object() && member(processor_, "image_mean") && member(processor_, "image_std")) {
      const auto found = huggingface_preprocessing(processor_, processor_file_);
      return Normalization{found.mean, found.std, processor_file_};
    }
  } catch (const std::runtime_error&) {
    if (const auto found = normalization_in(processor_, "image_mean", "image_std", processor_file_)) return found;
  }
  const auto* pretrained = timm();
  return pretrained ? normalization_in(*pretrained, "mean", "std", config_file_) : std::nullopt;
}

std::vector<std::string> Companions::class_names() const {
  std::vector<std::string> names;
  if (const auto* labels = huggingface() ? member(config_, "id2label") : nullptr; labels && labels->is_object()) {
    for (size_t i = 0; i < labels->size(); ++i) {
      const auto* name = member(*labels, std::to_string(i).c_str());
      if (!name || !name->is_string())
        throw std::runtime_error(
            fmt::format("{}: 'id2label' has {} classes and no name of class {}", config_file_, labels->size(), i));
      names.push_back(name->get<std::string>());
    }
    return only_numbered(names) ? std::vector<std::string>() : names;
  }
  const auto* pretrained = timm();
  const auto* labels = pretrained ? member(*pretrained, "label_names") : nullptr;
  if (!labels) labels = member(config_, "label_names");
  if (!labels || huggingface() || !labels->is_array()) return names;
  for (const auto& name : *labels) names.push_back(name.is_string() ? name.get<std::string>() : name.dump());
  return names;
}

std::optional<int64_t> Companions::image_size() const {
  if (!processor_.is_null() || timm()) return preprocessing()->size;
  const auto* size = huggingface() ? member(config_, "image_size") : model_arg("img_size");
  if (!size) return std::nullopt;
  if (!size->is_number_integer() || size->get<int64_t>() < 1)
    throw std::runtime_error(
        fmt::format("{}: image size {}: expected the pixels of a square's side", config_file_, formats::shown(*size)));
  return size->get<int64_t>();
}

std::string Companions::architecture() const {
  const auto* name = member(config_, "architecture");
  return name && name->is_string() ? name->get<std::string>() : std::string();
}

std::string Companions::pool() const {
  const auto* pool = model_arg("global_pool");
  return pool && *pool == "avg" ? "avg" : "";
}

}  // namespace respeft::models
