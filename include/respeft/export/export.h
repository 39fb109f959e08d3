#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <respeft/data/image/preprocessing.h>
#include <respeft/models/model.h>
#include <respeft/core/options.h>

namespace respeft {

/// What travels with an exported model besides its weights.
struct ExportInfo {
  data::Preprocessing preprocessing;
  std::vector<std::string> class_names = {};  ///< may be empty
  // For the formats that hold adapters:
  std::string method = "";          ///< that made the adapters
  Options options = {};             ///< the method's
  std::string weights_sha256 = "";  ///< of the base's weights file; empty: unknown
};

/// A file format that a model can be written in.
struct ExportFormat {
  std::string name;
  std::string summary;  ///< one line
  /// Writes the file or folder whole or not at all. Throws `std::invalid_argument` if the format cannot express the model: if it
  /// still has adapters, or, for a format of adapters, has none.
  std::function<void(models::Model&, const std::string& path, const ExportInfo&)> write;
  /// Loads what was written, as its user would, and returns its logits for `images`; null where that takes another program.
  /// `like` is the model that was written: a format of adapters takes its base from it.
  std::function<at::Tensor(const std::string& path, const at::Tensor& images, const models::Model& like)> run;
  bool folder = false;    ///< whether it is a folder of files
  bool adapters = false;  ///< whether it holds the adapters, for others the model must be merged
};

namespace exporting {
/// Every format, in the order they are documented.
const std::vector<ExportFormat>& registry();
/// Throws `std::invalid_argument` that suggests what may have been meant.
const ExportFormat& find(const std::string& name);
}  // namespace exporting

/// Writes a TorchScript module `forward(images [B, 3, H, W]) -> logits`: aten operators alone, any batch size, loadable
/// with LibTorch or PyTorch without this library. Preprocessing and class names are the extra files `preprocessing.json`
/// and `class_names.json`.
void export_torchscript(models::Model& model, const std::string& path, const ExportInfo& info = {});

/// Writes safetensors that `timm.create_model(name, num_classes=…, img_size=…, checkpoint_path=path)` loads strictly.
void export_timm(models::Model& model, const std::string& path, const ExportInfo& info = {});

/// Writes a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads: `config.json`, which says the
/// architecture, the image size, the preprocessing and the class names, and `model.safetensors`.
void export_timm_folder(models::Model& model, const std::string& folder, const ExportInfo& info = {});

/// Writes a folder that Transformers loads, `AutoModelForImageClassification.from_pretrained(folder)` and
/// `AutoImageProcessor.from_pretrained(folder)`: `config.json`, `model.safetensors` and `preprocessor_config.json`. The model
/// becomes a ViTForImageClassification, or with layer scale a Dinov2ForImageClassification or
/// Dinov2WithRegistersForImageClassification. Throws `std::invalid_argument` with the reason where those compute something else:
/// they read the class token after the norm, so mean pooling has no place there.
void export_huggingface(models::Model& model, const std::string& folder, const ExportInfo& info = {});

/// The `model_type` of the Hugging Face model that computes what `model` does: `vit`, `dinov2` or `dinov2_with_registers`.
/// Throws `std::invalid_argument` with the reason where there is none.
std::string huggingface_model_type(const models::Model& model);

}  // namespace respeft
