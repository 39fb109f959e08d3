#include "src/models/companions.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "src/formats/json.h"

namespace respeft::models {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::optional<std::array<double, 3>> channels(const json& value) {
  if (!value.is_array() || value.size() != 3) return std::nullopt;
  std::array<double, 3> numbers{};
  for (size_t i = 0; i < 3; ++i) {
    if (!value[i].is_number()) return std::nullopt;
    numbers[i] = value[i].get<double>();
  }
  return numbers;
}

}  // namespace

json read_companion(const std::string& path, const std::string& name, std::string& file) {
  constexpr uintmax_t kLargest = 16 << 20;
  const fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  file = (folder / name).string();
  std::error_code none;
  if (!fs::is_regular_file(file, none) || fs::file_size(file, none) > kLargest) return nullptr;
  return formats::read_json(file);
}

std::optional<Normalization> normalization_in(const json& object, const char* mean, const char* std, const std::string& source) {
  if (!object.is_object() || !object.contains(mean) || !object.contains(std)) return std::nullopt;
  const auto first = channels(object[mean]), second = channels(object[std]);
  return first && second ? std::optional(Normalization{*first, *second, source}) : std::nullopt;
}

std::optional<Normalization> normalization_of_companions(const std::string& path) {
  std::string file;
  const json processor = read_companion(path, "preprocessor_config.json", file);
  if (const auto found = normalization_in(processor, "image_mean", "image_std", file)) return found;
  const json config = read_companion(path, "config.json", file);
  if (!config.is_object() || !config.contains("pretrained_cfg")) return std::nullopt;
  return normalization_in(config["pretrained_cfg"], "mean", "std", file);
}

}  // namespace respeft::models
