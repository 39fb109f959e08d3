#include <respeft/models/weights_file.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include <respeft/formats/file.h>
#include <respeft/nn/names.h>

#include "src/formats/json.h"
#include "src/models/companions.h"
#include "src/models/state_dict.h"

namespace respeft::models {
namespace {

using nlohmann::json;

std::string without_path(const std::string& message, const std::string& path) {
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

/// Sorts the keys of model and file into matched, missing, unused and wrongly shaped.
void compare_keys(WeightsCheck& check, const Model& model, const TensorMap& tensors) {
  std::set<std::string> known;
  for (const auto& item : model.named_parameters()) {
    const std::string& key = item.key();
    known.insert(key);
    const auto tensor = tensors.find(key);
    if (tensor == tensors.end()) {
      check.missing.push_back(key);
    } else if (tensor->second.sizes() == item.value().sizes()) {
      check.matched.push_back(key);
    } else if (nn::is_head_name(key)) {
      check.unused.push_back(key);  // of other classes
      check.missing.push_back(key);
    } else {
      check.wrong_shapes.push_back(fmt::format("'{}' has shape [{}]; {} takes [{}]", key, fmt::join(tensor->second.sizes(), ", "),
                                               model.name(), fmt::join(item.value().sizes(), ", ")));
    }
  }
  for (const auto& [key, tensor] : tensors) {
    if (known.count(key) == 0) check.unused.push_back(key);
  }
}

/// The keys of tensors with an infinity or NaN. Numbers of one byte are left out.
std::vector<std::string> not_finite(const formats::TensorFile& file) {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : file.entries()) {
    const bool floating = at::isFloatingType(entry.dtype) && at::elementSize(entry.dtype) > 1;
    if (floating && !at::isfinite(file.tensor(key)).all().item<bool>()) keys.push_back(key);
  }
  return keys;
}

bool needs_values(const std::string& key) {
  return std::any_of(families().begin(), families().end(),
                     [&](const ModelFamily* family) { return family->weights().needs_values(key); });
}

}  // namespace

struct WeightsFile::Contents {
  Contents(const std::string& given, std::string chosen)
      : path(given), state_dict(std::move(chosen)), file(formats::open_tensor_file(given, state_dict)) {}

  const Companions& companions() {
    if (!read_companions) read_companions.emplace(path);
    return *read_companions;
  }

  /// Under the file's names; with data where shapes are not enough.
  const TensorMap& foreign_shapes() {
    if (!shapes.empty()) return shapes;
    shapes = file->shapes();
    for (auto& [key, tensor] : shapes) {
      if (needs_values(key)) tensor = file->tensor(key);
    }
    return shapes;
  }

  const OwnTensors& own() {
    if (translated) return *translated;
    try {
      translated = to_own(foreign_shapes());
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
    }
    return *translated;
  }

  /// Throws where a configuration beside the file says that its model computes something else.
  void check_config(const torch::nn::Module& module, const std::string& layout) {
    const auto* model = dynamic_cast<const Model*>(&module);
    if (!model || companions().config_text().empty()) return;
    model->family().weights().check_config(*model, layout, companions().config_text(), companions().config_file());
  }

  std::string path, state_dict;
  std::unique_ptr<formats::TensorFile> file;
  TensorMap shapes;
  std::optional<OwnTensors> translated;
  std::optional<Companions> read_companions;
  std::string sha256;
};

WeightsFile::WeightsFile(const std::string& path, const std::string& state_dict)
    : contents_(std::make_unique<Contents>(path, state_dict)) {}
WeightsFile::~WeightsFile() = default;
WeightsFile::WeightsFile(WeightsFile&&) noexcept = default;

const std::string& WeightsFile::path() const {
  return contents_->path;
}
const std::string& WeightsFile::format() const {
  return contents_->file->format();
}
const std::vector<std::string>& WeightsFile::files() const {
  return contents_->file->files();
}
const formats::Metadata& WeightsFile::metadata() const {
  return contents_->file->metadata();
}

std::string WeightsFile::metadata(const std::string& key) const {
  const auto found = metadata().find(key);
  return found == metadata().end() ? std::string() : found->second;
}

const std::string& WeightsFile::sha256() const {
  if (contents_->sha256.empty()) contents_->sha256 = formats::weights_sha256(*contents_->file, contents_->state_dict);
  return contents_->sha256;
}

std::string WeightsFile::model() const {
  if (const std::string name = metadata("model"); !name.empty()) return name;
  const std::string name = contents_->companions().architecture();
  return family_of(name) ? name : std::string();
}

std::string WeightsFile::pool() const {
  const std::string name = metadata("pool");
  return name.empty() && metadata("model").empty() ? contents_->companions().pool() : name;
}

std::optional<int64_t> WeightsFile::image_size() const {
  if (!metadata("preprocessing").empty()) return preprocessing()->size;
  return contents_->companions().image_size();
}

std::vector<std::string> WeightsFile::class_names() const {
  const std::string text = metadata("class_names");
  if (text.empty()) return contents_->companions().class_names();
  try {
    const auto names = formats::parse_json(text);
    std::vector<std::string> texts;
    if (!names.is_array()) return texts;
    for (const auto& name : names) texts.push_back(name.is_string() ? name.get<std::string>() : name.dump());
    return texts;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", path(), error.what()));
  }
}

std::optional<data::Preprocessing> WeightsFile::preprocessing() const {
  const std::string text = metadata("preprocessing");
  if (text.empty()) return contents_->companions().preprocessing();
  try {
    return data::preprocessing_from_json(text);
  } catch (const std::exception& error) {
    throw std::runtime_error(fmt::format("{}: {}", path(), error.what()));
  }
}

std::optional<Normalization> WeightsFile::normalization(const std::string& model) const {
  if (const std::string text = metadata("preprocessing"); !text.empty()) {
    const std::string source = path() + ", its metadata";
    try {
      if (const auto found = normalization_in(formats::parse_json(text), "mean", "std", source)) return found;
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}: {}", source, error.what()));
    }
  }
  if (const auto found = contents_->companions().normalization()) return found;
  std::string layout;
  try {
    layout = this->layout();
  } catch (const std::runtime_error&) {  // the names of model and file may tell it all the same
  }
  const std::string name = std::filesystem::path(path()).filename().string();
  for (const auto* family : families()) {
    if (const auto found = family->weights().published_normalization(model, name, layout)) return found;
  }
  return std::nullopt;
}

const std::string& WeightsFile::layout() const {
  return contents_->own().layout;
}
const TensorMap& WeightsFile::shapes() const {
  return contents_->own().tensors;
}
int64_t WeightsFile::head_classes() const {
  const auto head = shapes().find(nn::kHeadWeight);
  if (head != shapes().end() && head->second.dim() != 2) {
    throw std::runtime_error(fmt::format("{}: 'head.weight' has shape [{}]; a head is a matrix [classes, features]", path(),
                                         fmt::join(head->second.sizes(), ", ")));
  }
  return models::head_classes(shapes());
}

WeightsCheck WeightsFile::check(const Model& model) const {
  WeightsCheck check;
  check.not_finite = not_finite(*contents_->file);
  check.normalization = normalization(model.name());
  const auto& map = model.family().weights();
  OwnTensors own;
  try {
    own = to_own(contents_->foreign_shapes(), &model.family());
  } catch (const std::runtime_error& error) {
    check.fault = error.what();
    for (const auto& item : model.named_parameters()) check.missing.push_back(item.key());
    for (const auto& [key, entry] : contents_->file->entries()) check.unused.push_back(key);
    return check;
  }
  check.layout = own.layout;
  check.head_classes = models::head_classes(own.tensors);
  const auto file = map.patch_grid(model, own.tensors), here = map.patch_grid(model, plain_tensors(model));
  check.file_grid = file.grid, check.file_patch = file.patch;
  check.model_grid = here.grid, check.model_patch = here.patch;
  auto fitted = own;
  try {
    map.fit(model, fitted);
  } catch (const std::runtime_error&) {  // a fault, found below
  }
  compare_keys(check, model, fitted.tensors);
  try {
    require_fit(model);
  } catch (const std::runtime_error& error) {
    check.fault = without_path(error.what(), path());
    check.fitting = map.fitting(own.tensors);
    if (std::find(check.fitting.begin(), check.fitting.end(), model.name()) != check.fitting.end()) check.fitting.clear();
  }
  return check;
}

void WeightsFile::require_fit(const torch::nn::Module& module) const {
  Loading loading(module, contents_->foreign_shapes(), path());
  loading.check();
  contents_->check_config(module, loading.layout());
}

LoadReport WeightsFile::load(torch::nn::Module& module) const {
  require_fit(module);  // before anything large is read
  return Loading(module, contents_->file->tensors(), path()).run();
}

std::optional<Normalization> known_normalization(const std::string& path, const std::string& model,
                                                 const std::string& state_dict) {
  return WeightsFile(path, state_dict).normalization(model);
}

WeightsCheck check_weights(const std::string& path, const std::string& model, ModelOptions options,
                           const std::string& state_dict) {
  options.device = at::kMeta;
  const auto shapes = create(model, options);
  const WeightsFile file(path, state_dict);
  auto check = file.check(*shapes);
  check.normalization = file.normalization(model);  // whose name may have a tag
  return check;
}

}  // namespace respeft::models
