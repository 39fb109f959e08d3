#include <respeft/models/exports.h>
#include <respeft/models/family.h>
#include <respeft/models/vit/vit.h>
#include <respeft/models/weight_map.h>
#include <torch/csrc/jit/api/module.h>

#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::models {
namespace {

[[noreturn]] void refuse(const Model& model, const char* library) {
  throw std::invalid_argument(std::string(model.name()) + " has no equal in " + library);
}

}  // namespace

const std::vector<const ModelFamily*>& families() {
  static const std::vector<const ModelFamily*> all = {
      &vit_family(),
  };
  return all;
}

const ModelFamily* family_of(const std::string& name) {
  const std::string architecture = name.substr(0, name.find('.'));
  for (const auto* family : families()) {
    if (family->knows(architecture)) return family;
  }
  return nullptr;
}

std::shared_ptr<Model> create(const std::string& name, const ModelOptions& options) {
  const auto* family = family_of(name);
  if (!family) throw std::invalid_argument(text::unknown("model", name, list()));
  return family->create(name, options);
}

std::vector<std::string> list() {
  std::vector<std::string> names;
  for (const auto* family : families()) {
    const auto own = family->list();
    names.insert(names.end(), own.begin(), own.end());
  }
  return names;
}

ModelFamily::~ModelFamily() = default;
WeightMap::~WeightMap() = default;
ExportSources::~ExportSources() = default;

std::string ExportSources::timm_config(const Model& model) const {
  refuse(model, "timm");
}
std::string ExportSources::huggingface_type(const Model& model) const {
  refuse(model, "Transformers");
}
std::string ExportSources::huggingface_config(const Model& model) const {
  refuse(model, "Transformers");
}
TensorMap ExportSources::huggingface_tensors(const Model& model, const TensorMap&) const {
  refuse(model, "Transformers");
}
torch::jit::Module ExportSources::torchscript(const Model& model) const {
  throw std::invalid_argument(std::string(model.name()) + " cannot be exported as TorchScript");
}

}  // namespace respeft::models
