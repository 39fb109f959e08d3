#include <ATen/ATen.h>
#include <respeft/adapters/peft.h>
#include <respeft/models/weights.h>
#include <respeft/merge/merge.h>
#include <respeft/models/vit/vit.h>

#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

bool is_adapter(const std::string& key) {
  return key.find(".adapter.") != std::string::npos;
}

adapters::AdapterFile adapter_of(models::ImageModel& model, const ExportInfo& info) {
  if (!has_adapters(model)) throw std::invalid_argument(model.name() + " has no adapters to write");
  adapters::AdapterFile adapter;
  adapter.info = {info.method, model.name(), info.options, info.weights_sha256, info.preprocessing, info.class_names, ""};
  const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(&model);
  if (vit && vit->config.mean_pooling) adapter.info.pool = "avg";
  adapter.tensors = adapters::trained_state(model);
  return adapter;
}

/// Puts the written adapter on the base that `like` was adapted from.
at::Tensor run(const std::string& folder, const at::Tensor& images, const models::ImageModel& like) {
  const auto model = same_architecture(like);
  TensorMap base;
  for (const auto& item : like.named_parameters()) {
    const bool trained = item.value().requires_grad();  // a head that was trained must come from the adapter
    if (!trained && !is_adapter(item.key())) base.emplace(item.key(), item.value().detach());
  }
  models::load_weights(*model, std::move(base), like.name());
  adapters::attach_adapter(*model, adapters::load_adapter(folder));
  model->eval();
  const at::NoGradGuard no_grad;
  return model->forward(images);
}

}  // namespace

ExportFormat peft_format() {
  return {.name = "peft",
          .summary = "the adapter, unmerged: a folder for peft.PeftModel.from_pretrained(MODEL, FOLDER) on timm's MODEL",
          .write = [](models::ImageModel& model, const std::string& folder,
                      const ExportInfo& info) { adapters::save_peft_adapter(folder, adapter_of(model, info), "timm"); },
          .run = run,
          .folder = true,
          .adapters = true};
}

ExportFormat peft_transformers_format() {
  return {.name = "peft-transformers",
          .summary = "the same on Transformers' MODEL, such as the one that --format huggingface writes",
          .write =
              [](models::ImageModel& model, const std::string& folder, const ExportInfo& info) {
                adapters::save_peft_adapter(folder, adapter_of(model, info), huggingface_model_type(model));
              },
          .run = run,
          .folder = true,
          .adapters = true};
}

}  // namespace exporting
}  // namespace respeft
