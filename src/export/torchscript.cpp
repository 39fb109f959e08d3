#include <ATen/ATen.h>
#include <respeft/formats/file.h>
#include <respeft/models/exports.h>
#include <respeft/models/family.h>
#include <respeft/models/weights.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

at::Tensor run(const std::string& path, const at::Tensor& images, const models::Model&) {
  const at::NoGradGuard no_grad;
  torch::jit::Module module = torch::jit::load(path);
  module.eval();
  return module.forward({images}).toTensor();
}

}  // namespace

ExportFormat torchscript_format() {
  return {"torchscript", "a TorchScript program, for torch.jit.load(FILE) in Python and torch::jit::load in C++",
          export_torchscript, run};
}

}  // namespace exporting

void export_torchscript(models::Model& model, const std::string& path, const ExportInfo& info) {
  models::plain_state(model);  // refuses adapters
  const auto program = model.family().exports().torchscript(model);
  const torch::jit::ExtraFilesMap extra = {{"preprocessing.json", data::to_json(exporting::preprocessing_for(model, info))},
                                           {"class_names.json", exporting::class_names_json(info.class_names)}};
  std::ostringstream bytes;  // LibTorch ends the process when it cannot write a file
  program.save(bytes, extra);
  formats::write_file(path, bytes.view());
}

}  // namespace respeft
