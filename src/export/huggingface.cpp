#include <ATen/ATen.h>
#include <fmt/format.h>
#include <respeft/formats/file.h>
#include <respeft/models/weights.h>
#include <respeft/models/vit/vit.h>

#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

using nlohmann::ordered_json;

/// The class of Transformers that `model_type` names.
std::string architecture(const std::string& model_type) {
  if (model_type == "vit") return "ViTForImageClassification";
  return model_type == "dinov2" ? "Dinov2ForImageClassification" : "Dinov2WithRegistersForImageClassification";
}

/// The configuration of a Transformers model; the names of its members are those of ViTConfig and Dinov2Config.
ordered_json model_config(const models::VitConfig& config, const std::string& model_type,
                          const std::vector<std::string>& class_names) {
  ordered_json result = {{"architectures", ordered_json::array({architecture(model_type)})},
                         {"model_type", model_type},
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
  if (model_type == "vit") {
    result["intermediate_size"] = config.mlp_dim;
  } else {
    result["mlp_ratio"] = config.mlp_dim / config.embed_dim;
  }
  if (config.register_tokens > 0) result["num_register_tokens"] = config.register_tokens;
  nlohmann::json names = nlohmann::json::object(), numbers = nlohmann::json::object();
  for (int64_t i = 0; i < config.num_classes; ++i) {
    const auto place = static_cast<size_t>(i);
    const std::string name = place < class_names.size() ? class_names[place] : fmt::format("LABEL_{}", i);
    names[std::to_string(i)] = name;
    numbers[name] = i;
  }
  result["id2label"] = names;
  result["label2id"] = numbers;
  return result;
}

ordered_json square(int64_t side) {
  return {{"height", side}, {"width", side}};
}

/// The image processor that does to an image what this library does. ViT's only resizes in older versions; BiT's crops in all.
/// Where an odd number of pixels is cut off a side, Transformers may leave the odd one on the other end.
ordered_json processor_config(const data::Preprocessing& preprocessing) {
  constexpr int bilinear = 2, bicubic = 3;  // Pillow's numbers
  const bool shortest = preprocessing.resize_mode == "shortest";
  const bool crops = shortest || preprocessing.resized_side() > preprocessing.size;
  ordered_json config = {{"image_processor_type", crops ? "BitImageProcessor" : "ViTImageProcessor"},
                         {"do_convert_rgb", true},
                         {"do_resize", true},
                         {"size", square(preprocessing.resized_side())},
                         {"resample", preprocessing.interpolation == "bicubic" ? bicubic : bilinear},
                         {"do_rescale", true},
                         {"rescale_factor", 1.0 / 255.0},
                         {"do_normalize", true},
                         {"image_mean", preprocessing.mean},
                         {"image_std", preprocessing.std}};
  if (shortest) config["size"] = {{"shortest_edge", preprocessing.resized_side()}};
  if (crops) config["do_center_crop"] = true, config["crop_size"] = square(preprocessing.size);
  return config;
}

at::Tensor run(const std::string& folder, const at::Tensor& images, const models::ImageModel& like) {
  return run_weights(folder + "/model.safetensors", images, like);
}

}  // namespace

ExportFormat huggingface_format() {
  return {.name = "huggingface",
          .summary = "a folder for Transformers' AutoModelForImageClassification.from_pretrained(FOLDER)",
          .write = export_huggingface,
          .run = run,
          .folder = true};
}

}  // namespace exporting

std::string huggingface_model_type(const models::ImageModel& model) {
  const auto refuse = [&](const std::string& reason) {
    throw std::invalid_argument(fmt::format("{} has no equal in Transformers: {}", model.name(), reason));
  };
  const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model);
  if (!vit) refuse("it is no Vision Transformer");
  const auto& config = vit->config;
  if (config.mean_pooling) {
    refuse("its head reads the mean over the patches, normalized after it was taken; theirs reads the class token");
  }
  if (!config.class_token) refuse("it has no class token");
  if (!config.layer_scale) {
    if (config.register_tokens > 0 || !config.position_for_prefix) refuse("their ViT has no register tokens");
    return "vit";
  }
  if (config.position_for_prefix != (config.register_tokens == 0)) refuse("its position embedding has entries for other tokens");
  if (config.mlp_dim % config.embed_dim != 0) refuse("its MLP is not a whole number of times as wide as its tokens");
  return config.register_tokens == 0 ? "dinov2" : "dinov2_with_registers";
}

void export_huggingface(models::ImageModel& model, const std::string& folder, const ExportInfo& info) {
  const TensorMap state = models::plain_state(model);
  const std::string type = huggingface_model_type(model);
  const auto& config = dynamic_cast<const models::VisionTransformerImpl&>(model).config;
  if (type != "vit" && config.num_classes == 0) {
    throw std::invalid_argument(model.name() + " has no head, and Transformers' classifier without one returns other features");
  }
  const TensorMap tensors = models::to_huggingface_layout(state, type);
  formats::write_folder(folder, [&](const std::string& place) {
    formats::write_file(place + "/config.json", exporting::json_text(exporting::model_config(config, type, info.class_names)));
    formats::write_file(place + "/preprocessor_config.json", exporting::json_text(exporting::processor_config(info.preprocessing)));
    exporting::write_weights(model, place + "/model.safetensors", tensors, info);
  });
}

}  // namespace respeft
