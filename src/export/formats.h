#pragma once

#include <respeft/export/export.h>
#include <respeft/formats/safetensors.h>

#include <nlohmann/json.hpp>

namespace respeft::exporting {

ExportFormat torchscript_format();
ExportFormat timm_format();
ExportFormat timm_folder_format();
ExportFormat huggingface_format();
ExportFormat peft_format();
ExportFormat peft_transformers_format();

/// The preprocessing for images of the model's size.
data::Preprocessing preprocessing_for(const models::Model& model, const ExportInfo& info);
/// Throws `std::invalid_argument` where a layer with a weight has an adapter, which must be merged first.
void refuse_foldable_adapters(torch::nn::Module& model);
/// The class names as a JSON list.
std::string class_names_json(const std::vector<std::string>& names);
/// A file's text. Bytes that are no UTF-8, as a folder's name may have, are replaced.
std::string json_text(const nlohmann::ordered_json& document);

/// Writes the plain model's weights to a safetensors file with `tensors`, which are its weights under another library's names,
/// and with metadata that say what they are.
void write_weights(const models::Model& model, const std::string& path, const TensorMap& tensors, const ExportInfo& info);

/// A fresh model of the same architecture as `model`, in evaluation mode.
std::shared_ptr<models::Model> same_architecture(const models::Model& model);
/// The logits of a fresh model of the same architecture as `like` with the weights of the file at `path`.
at::Tensor run_weights(const std::string& path, const at::Tensor& images, const models::Model& like);

}  // namespace respeft::exporting
