#include "src/models/vit/huggingface_config.h"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/models/vit/vit.h>

#include "src/formats/json.h"

namespace respeft::models {
namespace {

/// Throws unless `key`, where the file has it, is `fits`.
template <class Fits>
void require(const nlohmann::json& config, const std::string& file, const char* key, const Fits& fits,
             const std::string& computed) {
  const auto found = config.find(key);
  if (found == config.end() || fits(*found)) return;
  throw std::runtime_error(fmt::format("{}: '{}' is {}, and the model here has {}", file, key, formats::shown(*found), computed));
}

}  // namespace

void check_huggingface_config(const models::ImageModel& model, const std::string& path) {
  const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model);
  const std::filesystem::path given(path), folder = std::filesystem::is_directory(given) ? given : given.parent_path();
  const std::string file = (folder / "config.json").string();
  if (!vit || !std::filesystem::is_regular_file(file)) return;
  const auto config = formats::read_json(file);
  if (!config.is_object()) throw std::runtime_error(file + ": not a JSON object");
  if (!config.contains("model_type")) return;  // another program's
  const int64_t heads = vit->config.num_heads;
  require(
      config, file, "num_attention_heads", [&](const auto& value) { return value == heads; }, std::to_string(heads));
  require(
      config, file, "hidden_act", [](const auto& value) { return value == "gelu"; }, "gelu");
  require(
      config, file, "layer_norm_eps", [](const auto& value) { return value.is_number() && 0 <= value && value <= 1e-6; },
      "1e-06");
}

}  // namespace respeft::models
