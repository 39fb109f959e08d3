#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <respeft/io/preprocessing.h>
#include <respeft/models/model.h>

namespace respeft {

/// What travels with an exported model besides its weights.
struct ExportInfo {
  io::Preprocessing preprocessing;
  std::vector<std::string> class_names;  ///< may be empty
};

/// A file format that a plain (merged) model can be written in.
struct ExportFormat {
  std::string name;
  std::string summary;  ///< one line
  /// Writes the file whole or not at all. Throws `std::invalid_argument` if the model still has adapters.
  std::function<void(models::ImageModel&, const std::string& path, const ExportInfo&)> write;
  /// Loads what was written, as its user would, and returns its logits for `images`; null where that takes another program.
  std::function<at::Tensor(const std::string& path, const at::Tensor& images, const models::ImageModel&)> run;
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
void export_torchscript(models::ImageModel& model, const std::string& path, const ExportInfo& info = {});

/// Writes safetensors that `timm.create_model(name, num_classes=…, img_size=…, checkpoint_path=path)` loads strictly.
void export_timm(models::ImageModel& model, const std::string& path, const ExportInfo& info = {});

}  // namespace respeft
