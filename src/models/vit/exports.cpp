#include <respeft/models/exports.h>

#include <fmt/format.h>
#include <respeft/models/vit/vit.h>
#include <respeft/models/vit/weight_map.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/models/vit/family.h"
#include "src/models/vit/torchscript.h"

namespace respeft::models::vit {
namespace {

using nlohmann::ordered_json;

/// What timm's constructor is told besides the architecture's name.
ordered_json model_args(const VitConfig& config, bool named) {
  ordered_json args;
  args["img_size"] = config.image_size;
  if (config.mean_pooling) args["global_pool"] = "avg";
  if (named) return args;
  args["patch_size"] = config.patch_size;
  args["embed_dim"] = config.embed_dim;
  args["depth"] = config.depth;
  args["num_heads"] = config.num_heads;
  args["mlp_ratio"] = static_cast<double>(config.mlp_dim) / static_cast<double>(config.embed_dim);
  args["class_token"] = config.class_token;
  args["reg_tokens"] = config.register_tokens;
  args["no_embed_class"] = !config.position_for_prefix;
  if (config.layer_scale) args["init_values"] = *config.layer_scale;
  return args;
}

/// The class of Transformers that `model_type` names.
std::string architecture(const std::string& model_type) {
  if (model_type == "vit") return "ViTForImageClassification";
  return model_type == "dinov2" ? "Dinov2ForImageClassification" : "Dinov2WithRegistersForImageClassification";
}

class VitExports : public ExportSources {
 public:
  std::string timm_config(const Model& model) const override {
    const auto& config = as_vit(model).config;
    const auto names = vit_family().list();
    const bool named = std::find(names.begin(), names.end(), config.name) != names.end();
    // A size that has no name of its own in timm is another one's with every number given.
    const ordered_json result = {{"architecture", named ? config.name : "vit_base_patch16_224"},
                                 {"num_features", config.embed_dim},
                                 {"global_pool", config.mean_pooling ? "avg" : "token"},
                                 {"model_args", model_args(config, named)},
                                 {"pretrained_cfg", {{"first_conv", "patch_embed.proj"}, {"classifier", "head"}}}};
    return result.dump();
  }

  std::string huggingface_type(const Model& model) const override {
    const auto refuse = [&](const std::string& reason) {
      throw std::invalid_argument(fmt::format("{} has no equal in Transformers: {}", model.name(), reason));
    };
    const auto& config = as_vit(model).config;
    if (config.mean_pooling) {
      refuse("its head reads the mean over the patches, normalized after it was taken; theirs reads the class token");
    }
    if (!config.class_token) refuse("it has no class token");
    if (!config.layer_scale) {
      if (config.register_tokens > 0 || !config.position_for_prefix) refuse("their ViT has no register tokens");
      return "vit";
    }
    if (config.position_for_prefix != (config.register_tokens == 0))
      refuse("its position embedding has entries for other tokens");
    if (config.mlp_dim % config.embed_dim != 0) refuse("its MLP is not a whole number of times as wide as its tokens");
    return config.register_tokens == 0 ? "dinov2" : "dinov2_with_registers";
  }

  /// The names of the members are those of Transformers' ViTConfig and Dinov2Config.
  std::string huggingface_config(const Model& model) const override {
    const std::string type = huggingface_type(model);
    const auto& config = as_vit(model).config;
    if (type != "vit" && config.num_classes == 0) {
      throw std::invalid_argument(model.name() + " has no head, and Transformers' classifier without one returns other features");
    }
    ordered_json result = {{"architectures", ordered_json::array({architecture(type)})},
                           {"model_type", type},
                           {"hidden_size", config.embed_dim},
                           {"num_hidden_layers", config.depth},
                           {"num_attention_heads", config.num_heads},
                           {"hidden_act", "gelu"},
                           {"hidden_dropout_prob", 0.0},
                           {"attention_probs_dropout_prob", 0.0},
                           {"layer_norm_eps", 1e-6},
                           {"image_size", config.image_size},
                           {"patch_size", config.patch_size},
                           {"num_channels", config.in_channels},
                           {"qkv_bias", true},
                           {"dtype", "float32"}};
    if (type == "vit") {
      result["intermediate_size"] = config.mlp_dim;
    } else {
      result["mlp_ratio"] = config.mlp_dim / config.embed_dim;
    }
    if (config.register_tokens > 0) result["num_register_tokens"] = config.register_tokens;
    return result.dump();
  }

  TensorMap huggingface_tensors(const Model& model, const TensorMap& state) const override {
    return to_huggingface_layout(state, huggingface_type(model));
  }

  torch::jit::Module torchscript(const Model& model) const override { return scripted(as_vit(model)); }
};

}  // namespace

const ExportSources& export_sources() {
  static const VitExports sources;
  return sources;
}

}  // namespace respeft::models::vit
