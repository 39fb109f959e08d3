#include <respeft/io/weights.h>
#include <respeft/models/vit.h>

#include <nlohmann/json.hpp>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

at::Tensor run(const std::string& path, const at::Tensor& images, const models::ImageModel& like) {
  models::ModelOptions options;
  options.num_classes = like.num_classes();
  options.image_size = like.image_size();
  if (const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&like))
    options.pool = vit->config.mean_pooling ? "avg" : "token";
  const auto model = models::create(like.name(), options);
  model->eval();
  io::load_weights(*model, path);
  const at::NoGradGuard no_grad;
  return model->forward(images);
}

}  // namespace

std::string class_names_json(const std::vector<std::string>& names) {
  return nlohmann::json(names).dump();
}

ExportFormat timm_format() {
  return {"timm", "safetensors with timm's names, for timm.create_model(NAME, checkpoint_path=FILE)", export_timm, run};
}

}  // namespace exporting

void export_timm(models::ImageModel& model, const std::string& path, const ExportInfo& info) {
  io::Metadata metadata = {{"format", "pt"}, {"model", model.name()}, {"preprocessing", io::to_json(info.preprocessing)}};
  if (!info.class_names.empty()) metadata["class_names"] = exporting::class_names_json(info.class_names);
  io::save_safetensors(path, io::plain_state(model), metadata);
}

}  // namespace respeft
