#include <ATen/ATen.h>
#include <respeft/formats/file.h>
#include <respeft/models/weights.h>
#include <respeft/models/vit/vit.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

using nlohmann::ordered_json;

const models::VisionTransformerImpl& as_vit(const models::ImageModel& model) {
  if (const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model)) return *vit;
  throw std::invalid_argument(model.name() + " is no Vision Transformer that this format can describe");
}

/// What timm's constructor is told besides the architecture's name.
ordered_json model_args(const models::VitConfig& config, bool named) {
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

/// The share of what images are resized to that is cut out, such that timm, which cuts the fraction off `size / share`, finds
/// that size again.
double crop_share(const data::Preprocessing& preprocessing) {
  const auto size = static_cast<double>(preprocessing.size), side = static_cast<double>(preprocessing.resized_side());
  double share = size / side;
  while (std::floor(size / share) < side) share = std::nextafter(share, 0.0);
  return share;
}

/// The configuration that timm's `load_model_config_from_path` reads. timm's evaluation transform then is this library's.
ordered_json timm_config(const models::VitConfig& config, const ExportInfo& info) {
  const auto names = models::list();
  const bool named = std::find(names.begin(), names.end(), config.name) != names.end();
  ordered_json pretrained = {{"input_size", {config.in_channels, config.image_size, config.image_size}},
                             {"fixed_input_size", true},
                             {"interpolation", info.preprocessing.interpolation},
                             {"crop_pct", crop_share(info.preprocessing)},
                             {"crop_mode", info.preprocessing.resize_mode == "shortest" ? "center" : "squash"},
                             {"mean", info.preprocessing.mean},
                             {"std", info.preprocessing.std},
                             {"num_classes", config.num_classes},
                             {"first_conv", "patch_embed.proj"},
                             {"classifier", "head"}};
  if (!info.class_names.empty()) pretrained["label_names"] = info.class_names;
  // A size that has no name of its own in timm is another one's with every number given.
  return {{"architecture", named ? config.name : "vit_base_patch16_224"},
          {"num_classes", config.num_classes},
          {"num_features", config.embed_dim},
          {"global_pool", config.mean_pooling ? "avg" : "token"},
          {"model_args", model_args(config, named)},
          {"pretrained_cfg", pretrained}};
}

}  // namespace

std::string class_names_json(const std::vector<std::string>& names) {
  return nlohmann::json(names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

void write_weights(const models::ImageModel& model, const std::string& path, const TensorMap& tensors,
                   const ExportInfo& info) {
  formats::Metadata metadata = {{"format", "pt"}, {"model", model.name()}, {"preprocessing", data::to_json(info.preprocessing)}};
  if (!info.class_names.empty()) metadata["class_names"] = class_names_json(info.class_names);
  const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model);
  if (vit && vit->config.mean_pooling) metadata["pool"] = "avg";
  formats::save_safetensors(path, tensors, metadata);
}

std::shared_ptr<models::ImageModel> same_architecture(const models::ImageModel& model) {
  auto fresh = std::make_shared<models::VisionTransformerImpl>(as_vit(model).config);
  fresh->eval();
  return fresh;
}

at::Tensor run_weights(const std::string& path, const at::Tensor& images, const models::ImageModel& like) {
  const auto model = same_architecture(like);
  models::load_weights(*model, path);
  const at::NoGradGuard no_grad;
  return model->forward(images);
}

ExportFormat timm_format() {
  return {"timm", "safetensors with timm's names, for timm.create_model(NAME, checkpoint_path=FILE)", export_timm, run_weights};
}

ExportFormat timm_folder_format() {
  return {.name = "timm-folder",
          .summary = "a folder for timm.create_model(\"local-dir:FOLDER\", pretrained=True)",
          .write = export_timm_folder,
          .run = [](const std::string& folder, const at::Tensor& images,
                    const models::ImageModel& like) { return run_weights(folder + "/model.safetensors", images, like); },
          .folder = true};
}

}  // namespace exporting

void export_timm(models::ImageModel& model, const std::string& path, const ExportInfo& info) {
  exporting::write_weights(model, path, models::plain_state(model), info);
}

void export_timm_folder(models::ImageModel& model, const std::string& folder, const ExportInfo& info) {
  const TensorMap state = models::plain_state(model);
  const auto config = exporting::timm_config(exporting::as_vit(model).config, info);
  formats::write_folder(folder, [&](const std::string& place) {
    formats::write_file(place + "/config.json", exporting::json_text(config));
    exporting::write_weights(model, place + "/model.safetensors", state, info);
  });
}

}  // namespace respeft
