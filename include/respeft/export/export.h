#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <respeft/core/options.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/models/model.h>

namespace respeft {

/// Information stored with an exported model.
struct ExportInfo {
  data::Preprocessing preprocessing;          ///< its `size` is replaced by the model's input size
  std::vector<std::string> class_names = {};  ///< may be empty
  // For formats that hold adapters:
  std::string method = "";          ///< of the adapters
  Options options = {};             ///< of the method
  std::string weights_sha256 = "";  ///< of the base's weights file; empty if unknown
};

/// A file format for exported models.
struct ExportFormat {
  std::string name;
  std::string summary;  ///< one line
  /// Writes the file or folder completely or not at all. Throws `std::invalid_argument` if the format cannot express the model:
  /// if it still has adapters or, for a format that holds adapters, if it has none.
  std::function<void(models::Model&, const std::string& path, const ExportInfo&)> write;
  /// Loads the written file as its user would and returns its logits for `images`; null if only another program can run it.
  /// `like` is the model that was written; a format that holds adapters takes the base from it.
  std::function<at::Tensor(const std::string& path, const at::Tensor& images, const models::Model& like)> run;
  bool folder = false;    ///< true if the format is a folder of files
  bool adapters = false;  ///< true if the format holds adapters; for others the model must be merged
};

namespace exporting {
/// Every format, in the order of the documentation.
const std::vector<ExportFormat>& registry();
/// The format of that name. Throws `std::invalid_argument` that suggests a similar name.
const ExportFormat& find(const std::string& name);
}  // namespace exporting

/// Writes a TorchScript module `forward(images [B, 3, H, W]) -> logits`. It uses aten operators only, takes any batch size, and
/// loads in LibTorch or PyTorch without this library. The extra files `preprocessing.json` and `class_names.json` hold the
/// preprocessing and the class names.
void export_torchscript(models::Model& model, const std::string& path, const ExportInfo& info = {});

/// Writes a safetensors file that `timm.create_model(name, num_classes=…, img_size=…, checkpoint_path=path)` loads strictly.
void export_timm(models::Model& model, const std::string& path, const ExportInfo& info = {});

/// Writes a folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads: `model.safetensors`, and `config.json`
/// with the architecture, the image size, the preprocessing and the class names.
void export_timm_folder(models::Model& model, const std::string& folder, const ExportInfo& info = {});

/// Writes a folder for Transformers' `AutoModelForImageClassification.from_pretrained(folder)` and
/// `AutoImageProcessor.from_pretrained(folder)`: `config.json`, `model.safetensors` and `preprocessor_config.json`. The model
/// becomes a ViTForImageClassification, or with layer scale a Dinov2ForImageClassification or
/// Dinov2WithRegistersForImageClassification. The processor accepts only RGB images: call Pillow's `image.convert("RGB")` first,
/// which drops the alpha channel as this library does. Throws `std::invalid_argument` with the reason if none of these classes
/// computes the same, e.g. for mean pooling, since they read the class token after the norm.
void export_huggingface(models::Model& model, const std::string& folder, const ExportInfo& info = {});

/// The `model_type` of the equivalent Hugging Face model: `vit`, `dinov2` or `dinov2_with_registers`. Throws
/// `std::invalid_argument` with the reason if there is none.
std::string huggingface_model_type(const models::Model& model);

}  // namespace respeft
