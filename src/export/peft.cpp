#include <ATen/ATen.h>
#include <respeft/adapters/peft.h>
#include <respeft/merge/merge.h>
#include <respeft/models/family.h>
#include <respeft/models/weights.h>
#include <respeft/nn/names.h>

#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

adapters::AdapterFile adapter_of(models::Model& model, const ExportInfo& info) {
  if (!has_adapters(model)) throw std::invalid_argument(model.name() + " has no adapters to write");
  adapters::AdapterFile adapter;
  adapter.info = {info.method, model.name(), info.options, info.weights_sha256, preprocessing_for(model, info), info.class_names,
                  ""};
  adapter.info.pool = model.family().options(model).pool;
  adapter.tensors = adapters::trained_state(model);
  return adapter;
}

/// Puts the written adapter on the base that `like` was adapted from.
at::Tensor run_adapter(const std::string& folder, const at::Tensor& images, const models::Model& like) {
  const auto model = same_architecture(like);
  TensorMap base;
  for (const auto& item : like.named_parameters()) {
    const bool trained = item.value().requires_grad();  // a head that was trained must come from the adapter
    if (!trained && !nn::is_adapter_name(item.key())) base.emplace(item.key(), item.value().detach());
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
          .write = [](models::Model& model, const std::string& folder,
                      const ExportInfo& info) { adapters::save_peft_adapter(folder, adapter_of(model, info), "timm"); },
          .run = run_adapter,
          .folder = true,
          .adapters = true};
}

ExportFormat peft_transformers_format() {
  return {.name = "peft-transformers",
          .summary = "the same for Transformers' MODEL, e.g. one that --format huggingface writes",
          .write =
              [](models::Model& model, const std::string& folder, const ExportInfo& info) {
                adapters::save_peft_adapter(folder, adapter_of(model, info), huggingface_model_type(model));
              },
          .run = run_adapter,
          .folder = true,
          .adapters = true};
}

}  // namespace exporting
}  // namespace respeft
