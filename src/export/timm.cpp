#include <ATen/ATen.h>
#include <respeft/formats/file.h>
#include <respeft/models/exports.h>
#include <respeft/models/family.h>
#include <respeft/models/weights.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

using nlohmann::ordered_json;

/// The share of what images are resized to that is cut out, such that timm, which cuts the fraction off `size / share`, finds
/// that size again.
double crop_share(const data::Preprocessing& preprocessing) {
  const auto size = static_cast<double>(preprocessing.size), side = static_cast<double>(preprocessing.resized_side());
  double share = size / side;
  while (std::floor(size / share) < side) share = std::nextafter(share, 0.0);
  return share;
}

/// The configuration that timm's `load_model_config_from_path` reads. timm's evaluation transform then is this library's.
ordered_json timm_config(const models::Model& model, const ExportInfo& info) {
  auto config = ordered_json::parse(model.family().exports().timm_config(model));
  config["num_classes"] = model.num_classes();
  const auto preprocessing = preprocessing_for(model, info);
  auto& pretrained = config["pretrained_cfg"];
  pretrained["input_size"] = model.input().shape;
  pretrained["fixed_input_size"] = true;
  pretrained["interpolation"] = preprocessing.interpolation;
  pretrained["crop_pct"] = crop_share(preprocessing);
  pretrained["crop_mode"] = preprocessing.resize_mode == "shortest" ? "center" : "squash";
  pretrained["mean"] = preprocessing.mean;
  pretrained["std"] = preprocessing.std;
  pretrained["num_classes"] = model.num_classes();
  if (!info.class_names.empty()) pretrained["label_names"] = info.class_names;
  return config;
}

}  // namespace

data::Preprocessing preprocessing_for(const models::Model& model, const ExportInfo& info) {
  return info.preprocessing.at_size(model.input().side());
}

std::string class_names_json(const std::vector<std::string>& names) {
  return nlohmann::json(names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string json_text(const nlohmann::ordered_json& document) {
  return document.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

void write_weights(const models::Model& model, const std::string& path, const TensorMap& tensors, const ExportInfo& info) {
  formats::Metadata metadata = {
      {"format", "pt"}, {"model", model.name()}, {"preprocessing", data::to_json(preprocessing_for(model, info))}};
  if (!info.class_names.empty()) metadata["class_names"] = class_names_json(info.class_names);
  if (const auto pool = model.family().options(model).pool; !pool.empty()) metadata["pool"] = pool;
  formats::save_safetensors(path, tensors, metadata);
}

std::shared_ptr<models::Model> same_architecture(const models::Model& model) {
  auto fresh = model.family().like(model);
  fresh->eval();
  return fresh;
}

at::Tensor run_weights(const std::string& path, const at::Tensor& images, const models::Model& like) {
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
                    const models::Model& like) { return run_weights(folder + "/model.safetensors", images, like); },
          .folder = true};
}

}  // namespace exporting

void export_timm(models::Model& model, const std::string& path, const ExportInfo& info) {
  exporting::write_weights(model, path, models::plain_state(model), info);
}

void export_timm_folder(models::Model& model, const std::string& folder, const ExportInfo& info) {
  const TensorMap state = models::plain_state(model);
  const auto config = exporting::timm_config(model, info);
  formats::write_folder(folder, [&](const std::string& place) {
    formats::write_file(place + "/config.json", exporting::json_text(config));
    exporting::write_weights(model, place + "/model.safetensors", state, info);
  });
}

}  // namespace respeft
