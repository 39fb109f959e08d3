#include "src/models/vit/configurations.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/formats/json.h"

namespace respeft::models::vit {
namespace {

using nlohmann::json;

/// One library's configuration of a model, compared with ours.
class Configuration {
 public:
  Configuration(const json& members, std::string file) : members_(members), file_(std::move(file)) {}

  [[noreturn]] void refuse(const std::string& key, const std::string& computed) const {
    throw std::runtime_error(
        fmt::format("{}: '{}' is {}, and the model here has {}", file_, key, formats::shown(members_.at(key)), computed));
  }
  /// Throws unless `key`, where the file has it, is `fits`.
  template <class Fits>
  void require(const char* key, const Fits& fits, const std::string& computed) const {
    const auto found = members_.find(key);
    if (found != members_.end() && !fits(*found)) refuse(key, computed);
  }
  /// The same for one value.
  void require_value(const char* key, const json& value) const {
    require(
        key, [&](const json& found) { return found == value; }, value.is_string() ? value.get<std::string>() : value.dump());
  }

 private:
  const json& members_;
  std::string file_;
};

void check_huggingface(const json& config, const std::string& file, const VitConfig& model) {
  if (!config.contains("model_type")) return;  // another program's
  const Configuration check(config, file);
  check.require_value("num_attention_heads", model.num_heads);
  check.require_value("hidden_act", "gelu");
  check.require(
      "layer_norm_eps", [](const json& value) { return value.is_number() && 0 <= value && value <= 1e-6; }, "1e-06");
}

/// Arguments of timm's `VisionTransformer` that change nothing of what a trained model computes for images of its size.
constexpr const char* kWithoutEffect[] = {
    "img_size",        "num_classes",       "drop_rate",   "pos_drop_rate", "patch_drop_rate",  "proj_drop_rate",
    "attn_drop_rate",  "drop_path_rate",    "weight_init", "fix_init",      "dynamic_img_size", "dynamic_img_pad",
    "strict_img_size", "pretrained_strict", "device",      "dtype",
};

/// `model_args` of timm's `config.json`. Source: timm/models/vision_transformer.py, version 1.0.31.
void check_timm_arguments(const json& args, const std::string& file, const VitConfig& model) {
  const Configuration check(args, file);
  const auto is_null_or = [](const json& expected) {
    return [=](const json& value) { return value.is_null() || value == expected; };
  };
  const std::vector<std::pair<const char*, json>> values = {
      {"patch_size", model.patch_size},
      {"in_chans", model.in_channels},
      {"embed_dim", model.embed_dim},
      {"depth", model.depth},
      {"num_heads", model.num_heads},
      {"mlp_ratio", static_cast<double>(model.mlp_dim) / static_cast<double>(model.embed_dim)},
      {"qkv_bias", true},
      {"qk_norm", false},
      {"scale_attn_norm", false},
      {"scale_mlp_norm", false},
      {"proj_bias", true},
      {"class_token", model.class_token},
      {"pos_embed", "learn"},
      {"no_embed_class", !model.position_for_prefix},
      {"reg_tokens", model.register_tokens},
      {"pre_norm", false},
      {"final_norm", true},
      {"pool_include_prefix", false},
      {"global_pool", model.mean_pooling ? "avg" : "token"},
  };
  const std::vector<std::pair<const char*, json>> defaults = {
      {"fc_norm", model.mean_pooling}, {"act_layer", "gelu"}, {"norm_layer", "layernorm"}, {"embed_norm_layer", nullptr}};
  for (const auto& [key, value] : values) check.require_value(key, value);
  for (const auto& [key, value] : defaults)
    check.require(key, is_null_or(value), value.is_string() ? value.get<std::string>() : value.dump());
  check.require(
      "init_values", [&](const json& value) { return value.is_null() != model.layer_scale.has_value(); },
      model.layer_scale ? "layer scale" : "no layer scale");
  for (const char* key : {"norm_eps", "layer_norm_eps", "eps"}) check.require_value(key, 1e-6);
  for (const auto& [key, value] : args.items()) {
    const auto is = [&, &name = key](const auto& known) { return name == known; };
    const auto is_first = [&, &name = key](const auto& known) { return name == known.first; };
    if (key == "init_values" || key.ends_with("eps") || std::any_of(values.begin(), values.end(), is_first) ||
        std::any_of(defaults.begin(), defaults.end(), is_first) ||
        std::any_of(std::begin(kWithoutEffect), std::end(kWithoutEffect), is)) {
      continue;
    }
    throw std::runtime_error(
        fmt::format("{}: 'model_args' has '{}': {}, which is not understood here", file, key, formats::shown(value)));
  }
}

void check_timm(const json& config, const std::string& file, const VitConfig& model) {
  const auto name = config.find("architecture");
  if (name == config.end() || !name->is_string()) return;  // another program's
  const auto architecture = name->get<std::string>();
  const Configuration check(config, file);
  if (architecture.find("quickgelu") != std::string::npos) check.refuse("architecture", "gelu");
  const auto args = config.find("model_args");
  const bool has_args = args != config.end() && args->is_object();
  if (vit_family().knows(architecture) && !(has_args && args->contains("num_heads"))) {
    const int64_t heads = vit_config(architecture).num_heads;
    if (heads != model.num_heads) check.refuse("architecture", fmt::format("{} heads, not {}", model.num_heads, heads));
  }
  if (has_args) check_timm_arguments(*args, file, model);
}

}  // namespace

void check_configuration(const VitConfig& model, const std::string& layout, const std::string& text, const std::string& file) {
  if (layout != "huggingface" && layout != "timm") return;
  const json config = formats::parse_json(text);
  if (layout == "timm") {
    if (config.is_object()) check_timm(config, file, model);
    return;
  }
  if (!config.is_object()) throw std::runtime_error(file + ": not a JSON object");
  check_huggingface(config, file, model);
}

}  // namespace respeft::models::vit
