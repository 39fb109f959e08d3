#include <ATen/ATen.h>
#include <fmt/format.h>
#include <respeft/formats/file.h>
#include <respeft/models/exports.h>
#include <respeft/models/family.h>
#include <respeft/models/weights.h>
#include <respeft/nn/site.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <sstream>
#include <stdexcept>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

at::Tensor run_torchscript(const std::string& path, const at::Tensor& images, const models::Model&) {
  const at::NoGradGuard no_grad;
  torch::jit::Module module = torch::jit::load(path);
  module.eval();
  return module.forward({images}).toTensor();
}

}  // namespace

void refuse_foldable_adapters(torch::nn::Module& model) {
  for (const auto& named : nn::find_sites(model)) {
    if (named.layer() && named.site->adapter())
      throw std::invalid_argument(
          fmt::format("the model has adapters attached ('{}'): merge or detach them first", named.info.name));
  }
}

ExportFormat torchscript_format() {
  return {"torchscript", "a TorchScript program, for torch.jit.load(FILE) in Python and torch::jit::load in C++",
          export_torchscript, run_torchscript};
}

}  // namespace exporting

void export_torchscript(models::Model& model, const std::string& path, const ExportInfo& info) {
  exporting::refuse_foldable_adapters(model);
  const auto program = model.family().exports().torchscript(model);
  const torch::jit::ExtraFilesMap extra = {{"preprocessing.json", data::to_json(exporting::preprocessing_for(model, info))},
                                           {"class_names.json", exporting::class_names_json(info.class_names)}};
  std::ostringstream bytes;  // LibTorch ends the process when it cannot write a file
  program.save(bytes, extra);
  formats::write_file(path, bytes.view());
}

}  // namespace respeft
