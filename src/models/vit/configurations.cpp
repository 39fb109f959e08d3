#include "src/models/vit/configurations.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/formats/json.h"

namespace respeft::models::vit {
namespace {

using nlohmann::json;

/// Throws unless `key`, where the file has it, is `fits`.
template <class Fits>
void require(const json& config, const std::string& file, const char* key, const Fits& fits, const std::string& computed) {
  const auto found = config.find(key);
  if (found == config.end() || fits(*found)) return;
  throw std::runtime_error(fmt::format("{}: '{}' is {}, and the model here has {}", file, key, formats::shown(*found), computed));
}

}  // namespace

void check_configuration(const VitConfig& model, const std::string& layout, const std::string& text, const std::string& file) {
  if (layout != "huggingface") return;
  json config;
  try {
    config = formats::parse_json(text);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", file, error.what()));
  }
  if (!config.is_object()) throw std::runtime_error(file + ": not a JSON object");
  if (!config.contains("model_type")) return;  // another program's
  const int64_t heads = model.num_heads;
  require(
      config, file, "num_attention_heads", [&](const auto& value) { return value == heads; }, std::to_string(heads));
  require(
      config, file, "hidden_act", [](const auto& value) { return value == "gelu"; }, "gelu");
  require(
      config, file, "layer_norm_eps", [](const auto& value) { return value.is_number() && 0 <= value && value <= 1e-6; },
      "1e-06");
}

}  // namespace respeft::models::vit
