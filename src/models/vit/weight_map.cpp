#include <respeft/models/vit/weight_map.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/models/vit/vit.h>
#include <respeft/nn/names.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>

#include <respeft/core/text.h>

#include "src/models/state_dict.h"
#include "src/models/unwrap.h"
#include "src/models/vit/configurations.h"
#include "src/models/vit/family.h"
#include "src/models/vit/foreign_names.h"
#include "src/models/vit/layouts.h"

// Which layout a state dict has, and what fits a model. The table of names (timm, Hugging Face, Google, …) is in
// foreign_names.cpp; the conversion of shapes is in layouts.cpp.
namespace respeft::models {
namespace vit {
namespace {

/// Stand before a backbone's names inside Hugging Face's classifiers.
const std::vector<std::string_view> kHuggingFacePrefixes = {"", "vit.", "dinov2.", "dinov2_with_registers."};
/// What Google's names may stand in: nothing, an optimizer with the parameters as its target, or the parameters of a state.
const std::vector<std::string_view> kGooglePrefixes = {"", "opt/target/", "params/"};
const std::vector<std::string_view> kNone = {""};

/// How a layout is recognized: by a tensor that all of its models have.
struct Anchor {
  std::string_view name;
  const std::vector<std::string_view>& prefixes;
  OwnTensors (*read)(TensorMap tensors, std::string_view prefix);
};

const Anchor kAnchors[] = {
    {"patch_embed.proj.weight", kNone, [](TensorMap tensors, std::string_view) { return from_timm(std::move(tensors)); }},
    {"blocks.0.norm1.weight", kNone, [](TensorMap tensors, std::string_view) { return from_timm(std::move(tensors)); }},
    {"embeddings.patch_embeddings.projection.weight", kHuggingFacePrefixes, from_huggingface},
    {"embedding/kernel", kGooglePrefixes, from_google},
    {"conv_proj.weight", kNone, [](TensorMap tensors, std::string_view) { return from_torchvision(std::move(tensors)); }},
};

const at::Tensor* find(const TensorMap& tensors, const std::string& key) {
  const auto found = tensors.find(key);
  return found == tensors.end() ? nullptr : &found->second;
}

/// Position embeddings have entries for these tokens before those of the patches.
int64_t prefix_positions(const VisionTransformerImpl& vit) {
  return vit.pos_embed.size(1) - vit.config.grid() * vit.config.grid();
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

/// `[D, C·p·p]`, the weight of a linear over flattened patches, is the convolution's, which timm reshapes too.
void unflatten_patch_projection(const VisionTransformerImpl& vit, TensorMap& tensors) {
  const auto weight = tensors.find("patch_embed.proj.weight");
  if (weight == tensors.end()) return;
  const auto& target = vit.patch_embed->proj->weight;
  if (weight->second.dim() == 2 && weight->second.size(0) == target.size(0) && weight->second.numel() == target.numel()) {
    weight->second = weight->second.reshape(target.sizes());
  }
}

bool fit_positions(const VisionTransformerImpl& vit, OwnTensors& own) {
  const auto found = own.tensors.find("pos_embed");
  if (found == own.tensors.end() || found->second.sizes() == vit.pos_embed.sizes()) return false;
  const auto& embedding = found->second;
  const int64_t prefix = prefix_positions(vit);
  if (grid_of(&embedding, prefix) == 0 || embedding.size(2) != vit.pos_embed.size(2)) {
    throw std::runtime_error(fmt::format("'pos_embed' has shape [{}]; {} takes [1, {} + n², {}]",
                                         fmt::join(embedding.sizes(), ", "), vit.name(), prefix, vit.pos_embed.size(2)));
  }
  const auto resampling = own.layout == "google" ? Resampling::kBilinear : Resampling::kBicubic;  // timm's choice
  found->second = resample_position_embedding(embedding, vit.config.grid(), prefix, resampling);
  return true;
}

bool is_dinov2(const std::string& model_type) {
  if (model_type == "dinov2" || model_type == "dinov2_with_registers") return true;
  if (model_type == "vit") return false;
  throw std::invalid_argument(text::unknown("model type", model_type, {"vit", "dinov2", "dinov2_with_registers"}));
}

/// Hugging Face's name of timm's tensor or module, in the classifier of that `model_type`; empty if the table has none.
std::string huggingface_name(const std::string& timm, const std::string& model_type, Layout layout) {
  const std::string name = from_timm_name(timm, layout);
  const bool head = timm == "head" || nn::is_head_name(timm);
  return name.empty() || head ? name : fmt::format("{}.{}", model_type, name);
}

constexpr std::string_view kFused = ".attn.qkv";
const std::vector<std::string> kParts = {"q", "k", "v"};

/// The place of timm's linear layer in a block, with q, k and v apart or not; nothing for other names.
std::optional<LayerPlace> place_of(std::string_view timm) {
  constexpr std::string_view layers[] = {kFused, ".attn.proj", ".mlp.fc1", ".mlp.fc2"}, before = "blocks.";
  const size_t end = timm.starts_with(before) ? timm.find_first_not_of("0123456789", before.size()) : timm.npos;
  if (end == timm.npos || end == before.size()) return std::nullopt;
  const auto layer = timm.substr(end);
  if (std::find(std::begin(layers), std::end(layers), layer) != std::end(layers)) return LayerPlace{std::string(timm)};
  for (size_t part = 0; part < kParts.size(); ++part) {
    if (layer == ".attn." + kParts[part])
      return LayerPlace{fmt::format("{}{}", timm.substr(0, end), kFused), static_cast<int64_t>(part)};
  }
  return std::nullopt;
}

/// timm's name of the module that is called `name` in one of the bases; `name` itself if it is none of Hugging Face's.
std::string timm_module(const std::string& name, std::string& base) {
  for (const auto prefix : kHuggingFacePrefixes) {
    std::string timm;
    if (!name.starts_with(prefix) || !to_timm_name(std::string_view(name).substr(prefix.size()), kHuggingFace, timm)) continue;
    base = prefix.substr(0, prefix.find('.'));
    return timm;
  }
  return name;
}

class VitWeightMap : public WeightMap {
 public:
  std::optional<OwnTensors> to_own(const TensorMap& tensors) const override {
    for (const auto& anchor : kAnchors) {
      const auto found = find_wrapped(tensors, anchor.name, anchor.prefixes);
      if (found.empty()) continue;
      const auto& place = only(found);
      return anchor.read(unwrapped(tensors, place.wrapper), place.inner);
    }
    return std::nullopt;
  }

  bool needs_values(std::string_view foreign) const override { return foreign.ends_with("classifier.weight"); }

  bool is_head(std::string_view name) const override {
    constexpr std::string_view others[] = {"classifier.", "dino_head.", "ibot_head."};  // set aside, or of pretraining
    return nn::is_head_name(name) ||
           std::any_of(std::begin(others), std::end(others), [&](auto other) { return name.starts_with(other); });
  }

  std::string not_recognized() const override {
    return "neither timm's, Hugging Face's, torchvision's nor Google's names of a Vision Transformer";
  }

  bool fit(const Model& model, OwnTensors& own) const override {
    const auto& vit = as_vit(model);
    if (own.tensors.count("dist_token") != 0) {
      throw std::runtime_error(fmt::format(
          "it is a distilled DeiT: {} has no place for its distillation token 'dist_token' and the head that reads it",
          vit.name()));
    }
    if (own.heads && *own.heads != vit.config.num_heads) {
      throw std::runtime_error(
          fmt::format("its attention has {} heads; {} has {}", *own.heads, vit.name(), vit.config.num_heads));
    }
    unflatten_patch_projection(vit, own.tensors);
    return fit_positions(vit, own);
  }

  /// timm puts the final norm before pooling (`norm`) with a class token and after it (`fc_norm`) with mean pooling. A file
  /// that differs from the model in nothing but that leaves the model's own norm fresh, as in timm, unless the file's head, which
  /// needs its norm, is loaded.
  bool may_differ(const Model& model, const std::vector<std::string>& missing, const std::vector<std::string>& unknown,
                  bool with_head) const override {
    const bool before_pooling = !as_vit(model).config.mean_pooling;
    const std::string own = before_pooling ? "norm." : "fc_norm.", other = before_pooling ? "fc_norm." : "norm.";
    const auto all_of = [](const std::vector<std::string>& keys, const std::string& norm) {
      return !keys.empty() && std::all_of(keys.begin(), keys.end(),
                                          [&](const std::string& key) { return key == norm + "weight" || key == norm + "bias"; });
    };
    if (!all_of(missing, own) || !all_of(unknown, other)) return false;
    if (with_head) {
      throw std::runtime_error(
          fmt::format("it has '{}' where the model has '{}': its head was trained with another pooling (class token or mean) "
                      "than the model's",
                      unknown.front(), missing.front()));
    }
    return true;
  }

  void check_config(const Model& model, const std::string& layout, const std::string& text,
                    const std::string& file) const override {
    check_configuration(as_vit(model).config, layout, text, file);
  }

  PatchGrid patch_grid(const Model& model, const TensorMap& own) const override {
    return {grid_of(find(own, "pos_embed"), prefix_positions(as_vit(model))), patch_of(find(own, "patch_embed.proj.weight"))};
  }

  std::vector<std::string> fitting(const TensorMap& own) const override {
    const auto *patch = find(own, "patch_embed.proj.weight"), *hidden = find(own, "blocks.0.mlp.fc1.weight");
    if (!patch || !hidden || hidden->dim() != 2) return {};
    std::vector<std::string> names;
    for (const auto& name : vit_family().list()) {
      const auto config = vit_config(name);
      if (config.embed_dim == hidden->size(1) && config.mlp_dim == hidden->size(0) && config.depth == depth_of(own) &&
          config.patch_size == patch_of(patch) && config.layer_scale.has_value() == (own.count("blocks.0.ls1.gamma") != 0) &&
          (config.register_tokens > 0) == (own.count("reg_token") != 0)) {
        names.push_back(name);
      }
    }
    return names;
  }

  std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                       const std::string& layout) const override {
    return vit::published_normalization(model, file, layout);
  }

  std::vector<std::string> bases() const override { return {"timm", "vit", "dinov2", "dinov2_with_registers"}; }

  std::optional<LayerPlace> place(const std::string& foreign, std::string& base) const override {
    return place_of(timm_module(foreign, base));
  }

  std::string no_adapter(const std::string& foreign) const override {
    std::string base;
    const std::string timm = timm_module(foreign, base);
    if (timm == "head" || timm == "classifier") return "a head can be trained whole (modules_to_save), not be adapted";
    if (timm != "patch_embed.proj") return "";
    return "the patch projection is a convolution, and only linear layers are adapted here; train with "
           "exclude_modules=['patch_embed.proj']";
  }

  std::string module_name(const LayerPlace& place, const std::string& base) const override {
    std::string timm = place.site;
    if (place.part >= 0) {
      if (!timm.ends_with(kFused)) return "";
      timm.replace(timm.size() - kFused.size(), kFused.size(), ".attn." + kParts.at(static_cast<size_t>(place.part)));
    }
    if (base == "timm") return place.part < 0 ? timm : "";
    return huggingface_name(timm, base, is_dinov2(base) ? kDinov2Module : kVitModule);
  }

  std::vector<std::string> parts(const std::string& site) const override {
    return site.ends_with(kFused) ? kParts : std::vector<std::string>();
  }

  std::string head_name(const std::string& base) const override { return base == "timm" ? "head" : "classifier"; }

  at::Tensor head_to(const at::Tensor& weight, const std::string& base) const override {
    return base.starts_with("dinov2") ? wide_head(weight) : weight;
  }

  at::Tensor head_from(const at::Tensor& weight, const std::string& base) const override {
    if (!base.starts_with("dinov2")) return weight;
    if (weight.dim() != 2 || weight.size(1) % 2 != 0)
      throw std::runtime_error("DINOv2's classifier reads two vectors of one length");
    auto narrow = narrow_head(weight);
    if (!narrow.defined())
      throw std::runtime_error("it reads the mean over the patches beside the class token, which a head here does not");
    return narrow;
  }
};

}  // namespace
}  // namespace vit

const WeightMap& vit_weight_map() {
  static const vit::VitWeightMap map;
  return map;
}

TensorMap to_timm_layout(TensorMap tensors, std::string& layout) {
  auto own = to_own(tensors, &vit_family());
  layout = own.layout;
  return std::move(own.tensors);
}

TensorMap to_huggingface_layout(const TensorMap& timm_tensors, const std::string& model_type) {
  const bool dinov2 = vit::is_dinov2(model_type);
  TensorMap tensors = vit::split_projections(timm_tensors);
  const auto change = [&](const char* key, const auto& changed) {
    const auto found = tensors.find(key);
    if (found != tensors.end()) found->second = changed(found->second);
  };
  if (dinov2) change(nn::kHeadWeight, vit::wide_head);
  if (model_type == "dinov2_with_registers") {  // timm's class token holds its position, which is zero here
    change("pos_embed", [](const at::Tensor& positions) {
      return at::cat({at::zeros_like(positions.narrow(1, 0, 1)), positions}, 1);
    });
  }
  TensorMap result;
  for (const auto& [key, tensor] : tensors) {
    const std::string name = vit::huggingface_name(key, model_type, dinov2 ? vit::kDinov2File : vit::kVitFile);
    if (name.empty()) throw std::invalid_argument(fmt::format("Hugging Face's {} has no place for '{}'", model_type, key));
    result.emplace(name, tensor);
  }
  if (const auto token = tensors.find("cls_token"); dinov2 && token != tensors.end()) {
    // The token that pretraining puts in the place of masked patches; a classifier of images has it and does not use it.
    result.emplace(model_type + ".embeddings.mask_token", at::zeros_like(token->second.select(1, 0)));
  }
  return result;
}

at::Tensor resample_position_embedding(const at::Tensor& embedding, int64_t grid, int64_t prefix_tokens, Resampling resampling) {
  TORCH_CHECK(embedding.dim() == 3 && embedding.size(0) == 1 && embedding.size(1) > prefix_tokens,
              "resample_position_embedding: expected [1, ", prefix_tokens, " + n², D], got ", embedding.sizes());
  const int64_t patches = embedding.size(1) - prefix_tokens, dim = embedding.size(2);
  const auto side = static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(patches))));
  TORCH_CHECK(side * side == patches, "resample_position_embedding: expected a square grid of patches, got ", patches);
  if (side == grid) return embedding;
  const auto prefix = embedding.narrow(1, 0, prefix_tokens);
  const auto image =
      embedding.narrow(1, prefix_tokens, patches).to(at::kFloat).reshape({1, side, side, dim}).permute({0, 3, 1, 2});
  const auto resampled = resampling == Resampling::kBicubic
                             ? at::_upsample_bicubic2d_aa(image, {grid, grid}, /*align_corners=*/false)
                             : at::upsample_bilinear2d(image, {grid, grid}, /*align_corners=*/false);
  return at::cat({prefix, resampled.permute({0, 2, 3, 1}).reshape({1, grid * grid, dim}).to(embedding.scalar_type())}, 1);
}

}  // namespace respeft::models
