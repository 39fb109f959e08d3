#include <respeft/models/weights_check.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include <respeft/formats/file.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/models/weights.h>
#include <respeft/models/vit/vit.h>

#include "src/models/vit/huggingface_config.h"
#include "src/formats/json.h"

namespace respeft::models {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Channels = std::array<double, 3>;

constexpr Channels kHalf = {0.5, 0.5, 0.5};
constexpr Channels kImagenetMean = {0.485, 0.456, 0.406}, kImagenetStd = {0.229, 0.224, 0.225};
constexpr Channels kClipMean = {0.48145466, 0.4578275, 0.40821073}, kClipStd = {0.26862954, 0.26130258, 0.27577711};

/// A word in the name of a model or of its file, in lower case, that tells a family. The first that is found counts.
struct Family {
  const char* word;
  const char* title;
  Channels mean, std;
};
constexpr Family kFamilies[] = {
    {"augreg", "AugReg's weights (Steiner et al. 2021)", kHalf, kHalf},
    {"orig_in21k", "the original ViT's weights (Dosovitskiy et al. 2021)", kHalf, kHalf},
    {"dinov2", "DINOv2's weights", kImagenetMean, kImagenetStd},
    {".dino", "DINO's weights", kImagenetMean, kImagenetStd},
    {"dino_", "DINO's weights", kImagenetMean, kImagenetStd},
    {"deit", "DeiT's weights", kImagenetMean, kImagenetStd},
    {"mae", "weights of masked autoencoders (MAE)", kImagenetMean, kImagenetStd},
    {"openai", "OpenAI's CLIP's weights", kClipMean, kClipStd},
    {".npz", "Google's weights", kHalf, kHalf},
};

std::optional<Channels> channels(const json& value) {
  if (!value.is_array() || value.size() != 3) return std::nullopt;
  Channels numbers{};
  for (size_t i = 0; i < 3; ++i) {
    if (!value[i].is_number()) return std::nullopt;
    numbers[i] = value[i].get<double>();
  }
  return numbers;
}

/// Two members of a JSON object that are three numbers each.
std::optional<Normalization> members(const json& object, const char* mean, const char* std, const std::string& source) {
  if (!object.is_object() || !object.contains(mean) || !object.contains(std)) return std::nullopt;
  const auto first = channels(object[mean]), second = channels(object[std]);
  return first && second ? std::optional(Normalization{*first, *second, source}) : std::nullopt;
}

/// The JSON in a small file; null when there is no file, discarded when it is not JSON.
json read_small_json(const fs::path& path) {
  constexpr uintmax_t kLargest = 16 << 20;
  std::error_code none;
  if (!fs::is_regular_file(path, none) || fs::file_size(path, none) > kLargest) return nullptr;
  return formats::read_json(path.string());
}

std::optional<Normalization> of_companions(const std::string& path) {
  const fs::path folder = fs::is_directory(path) ? fs::path(path) : fs::path(path).parent_path();
  const fs::path huggingface = folder / "preprocessor_config.json", timm = folder / "config.json";
  if (const auto found = members(read_small_json(huggingface), "image_mean", "image_std", huggingface.string())) return found;
  const json config = read_small_json(timm);
  return config.is_object() && config.contains("pretrained_cfg") ? members(config["pretrained_cfg"], "mean", "std", timm.string())
                                                                 : std::nullopt;
}

std::optional<Normalization> of_metadata(const std::string& path, const formats::Metadata& metadata) {
  const auto found = metadata.find("preprocessing");
  if (found == metadata.end()) return std::nullopt;
  const std::string source = path + ", its metadata";
  try {
    return members(formats::parse_json(found->second), "mean", "std", source);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", source, error.what()));
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::optional<Normalization> of_family(const std::string& path, const std::string& model) {
  const std::string file = lower(fs::path(path).filename().string()), name = lower(model);
  for (const auto& family : kFamilies) {
    for (const auto& [text, what] : {std::pair(name, "model"), std::pair(file, "file")}) {
      if (text.find(family.word) == std::string::npos) continue;
      return Normalization{family.mean, family.std, fmt::format("{}, by the {}'s name", family.title, what)};
    }
  }
  return std::nullopt;
}

const at::Tensor* find(const TensorMap& tensors, const char* key) {
  const auto found = tensors.find(key);
  return found == tensors.end() ? nullptr : &found->second;
}

/// The side of the grid that `positions [1, prefix + n², D]` are for; 0 when they make none.
int64_t grid_of(const at::Tensor* positions, int64_t prefix) {
  if (!positions || positions->dim() != 3 || positions->size(0) != 1 || positions->size(1) <= prefix) return 0;
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(positions->size(1) - prefix))));
  return side * side == positions->size(1) - prefix ? side : 0;
}

/// The side of a patch, of a convolution's weight `[D, C, p, p]` or a linear's over flattened patches `[D, C·p·p]`.
int64_t patch_of(const at::Tensor* weight) {
  if (!weight) return 0;
  if (weight->dim() == 4 && weight->size(2) == weight->size(3)) return weight->size(3);
  if (weight->dim() != 2) return 0;
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(weight->size(1)) / 3)));
  return 3 * side * side == weight->size(1) ? side : 0;
}

int64_t depth_of(const TensorMap& tensors) {
  int64_t depth = 0;
  while (tensors.count(fmt::format("blocks.{}.norm1.weight", depth)) != 0) ++depth;
  return depth;
}

/// The published architectures with the file's width, depth, patch and hidden width.
std::vector<std::string> fitting_models(const TensorMap& tensors) {
  const auto *patch = find(tensors, "patch_embed.proj.weight"), *hidden = find(tensors, "blocks.0.mlp.fc1.weight");
  if (!patch || !hidden || hidden->dim() != 2) return {};
  std::vector<std::string> names;
  for (const auto& name : models::list()) {
    const auto config = models::vit_config(name);
    if (config.embed_dim == hidden->size(1) && config.mlp_dim == hidden->size(0) && config.depth == depth_of(tensors) &&
        config.patch_size == patch_of(patch) && config.layer_scale.has_value() == (tensors.count("blocks.0.ls1.gamma") != 0) &&
        (config.register_tokens > 0) == (tensors.count("reg_token") != 0)) {
      names.push_back(name);
    }
  }
  return names;
}

bool is_head(const std::string& key) {
  return key.starts_with("head.");
}

/// Sorts the keys of model and file into matched, missing, unused and wrongly shaped.
void compare_keys(WeightsCheck& check, const models::ImageModel& model, const TensorMap& tensors) {
  std::set<std::string> known;
  for (const auto& item : model.named_parameters()) {
    const std::string& key = item.key();
    known.insert(key);
    const auto* tensor = find(tensors, key.c_str());
    if (!tensor) {
      check.missing.push_back(key);
    } else if (tensor->sizes() == item.value().sizes() ||
               (key == "pos_embed" && check.file_grid > 0 && tensor->size(2) == item.value().size(2)) ||
               (key == "patch_embed.proj.weight" && check.file_patch == check.model_patch &&
                tensor->size(0) == item.value().size(0) && tensor->numel() == item.value().numel())) {
      check.matched.push_back(key);
    } else if (is_head(key)) {
      check.unused.push_back(key);  // of other classes
      check.missing.push_back(key);
    } else {
      check.wrong_shapes.push_back(fmt::format("'{}' has shape [{}]; {} takes [{}]", key, fmt::join(tensor->sizes(), ", "),
                                               model.name(), fmt::join(item.value().sizes(), ", ")));
    }
  }
  for (const auto& [key, tensor] : tensors) {
    if (known.count(key) == 0) check.unused.push_back(key);
  }
}

std::string without_path(const std::string& message, const std::string& path) {
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

}  // namespace

std::optional<Normalization> known_normalization(const std::string& path, const std::string& model) {
  if (const auto found = of_metadata(path, formats::open_tensor_file(path)->metadata())) return found;
  if (const auto found = of_companions(path)) return found;
  return of_family(path, model);
}

WeightsCheck check_weights(const std::string& path, const std::string& name, models::ModelOptions options) {
  options.device = at::kMeta;
  const auto model = models::create(name, options);
  const auto file = formats::open_tensor_file(path);
  TensorMap shapes = file->shapes();
  // Shapes are enough, but for a classifier, whose zeros may say that it is a head.
  if (file->contains("classifier.weight")) shapes["classifier.weight"] = file->tensor("classifier.weight");
  WeightsCheck check;
  for (const auto& [key, entry] : file->entries()) {
    const bool floating = at::isFloatingType(entry.dtype) && at::elementSize(entry.dtype) > 1;
    if (floating && !at::isfinite(file->tensor(key)).all().item<bool>()) check.not_finite.push_back(key);
  }
  check.normalization = known_normalization(path, name);
  TensorMap tensors;
  try {
    tensors = to_timm_layout(shapes, check.layout);
  } catch (const std::runtime_error& error) {
    check.fault = error.what();
    for (const auto& item : model->named_parameters()) check.missing.push_back(item.key());
    for (const auto& [key, tensor] : shapes) check.unused.push_back(key);
    return check;
  }
  const auto* vit = dynamic_cast<const models::VisionTransformerImpl*>(model.get());
  if (vit) {
    check.model_grid = vit->config.grid(), check.model_patch = vit->config.patch_size;
    check.file_grid = grid_of(find(tensors, "pos_embed"), vit->pos_embed.size(1) - check.model_grid * check.model_grid);
    check.file_patch = patch_of(find(tensors, "patch_embed.proj.weight"));
  }
  check.head_classes = head_classes(tensors);
  compare_keys(check, *model, tensors);
  try {
    load_weights(*model, shapes, path);
    if (check.layout == "huggingface") check_huggingface_config(*model, path);
  } catch (const std::runtime_error& error) {
    check.fault = without_path(error.what(), path);
    check.fitting = fitting_models(tensors);
    if (std::find(check.fitting.begin(), check.fitting.end(), name.substr(0, name.find('.'))) != check.fitting.end())
      check.fitting.clear();
  }
  return check;
}

}  // namespace respeft::models
