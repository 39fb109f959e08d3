#include <ATen/ATen.h>
#include <fmt/format.h>
#include <respeft/io/weights.h>

#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "src/io/weight_names.h"
#include "src/util/text.h"

namespace respeft::io {
namespace {

/// Where a foreign name is written: every spelling is read, and writing takes the one of its place. Transformers 5 spells the
/// modules of a live model differently from the files that `save_pretrained` writes.
enum Place : unsigned { kVitFile = 1, kDinov2File = 2, kVitModule = 4, kDinov2Module = 8 };
constexpr unsigned kVit = kVitFile | kVitModule, kDinov2 = kDinov2File | kDinov2Module, kFiles = kVitFile | kDinov2File,
                   kModules = kVitModule | kDinov2Module, kEverywhere = kFiles | kModules;

/// One foreign name and timm's; an empty one says that the tensor has no part in classifying images.
struct Rename {
  std::string_view foreign, timm;
  unsigned places = 0;  ///< where the foreign name is written; none: it is only read
};

/// Hugging Face's ViT and DINOv2, outside the layers. Names are those of modules (`.weight` and `.bias` follow) or tensors.
constexpr Rename huggingface_outer[] = {
    {"embeddings.cls_token", "cls_token", kEverywhere},
    {"embeddings.register_tokens", "reg_token", kEverywhere},
    {"embeddings.position_embeddings", "pos_embed", kEverywhere},
    {"embeddings.patch_embeddings.projection", "patch_embed.proj", kEverywhere},
    {"embeddings.mask_token", ""},  // of masked-image pretraining
    {"layernorm", "norm", kEverywhere},
    {"pooler.dense", ""},  // of the sequence representation that Hugging Face offers besides the class token
};

/// Inside a layer.
constexpr Rename huggingface_layer[] = {
    {"layernorm_before", "norm1", kVit},
    {"layernorm_after", "norm2", kVit},
    {"norm1", "norm1", kDinov2},
    {"norm2", "norm2", kDinov2},
    {"attention.attention.query", "attn.q", kFiles},
    {"attention.attention.key", "attn.k", kFiles},
    {"attention.attention.value", "attn.v", kFiles},
    {"attention.output.dense", "attn.proj", kFiles},
    {"attention.q_proj", "attn.q", kModules},
    {"attention.k_proj", "attn.k", kModules},
    {"attention.v_proj", "attn.v", kModules},
    {"attention.o_proj", "attn.proj", kModules},
    {"intermediate.dense", "mlp.fc1", kVitFile},
    {"output.dense", "mlp.fc2", kVitFile},
    {"mlp.fc1", "mlp.fc1", kVitModule | kDinov2},
    {"mlp.fc2", "mlp.fc2", kVitModule | kDinov2},
    {"layer_scale1.lambda1", "ls1.gamma", kDinov2},
    {"layer_scale2.lambda1", "ls2.gamma", kDinov2},
};

/// What comes before the names above: the backbone as such, or inside a classifier.
constexpr std::string_view huggingface_prefixes[] = {"", "vit.", "dinov2.", "dinov2_with_registers."};
/// What stands for timm's `blocks.`.
constexpr Rename layer_prefixes[] = {{"encoder.layer.", "blocks.", kFiles | kDinov2Module}, {"layers.", "blocks.", kVitModule}};

/// timm's own layout, and the original DINOv2's, which differs in these.
constexpr Rename timm_outer[] = {
    {"mask_token", ""},
    {"register_tokens", "reg_token"},
};

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// `name` renamed by `table`, with what follows a module's name (`.weight`, `.bias`) kept. False if it is not in the table.
template <size_t N>
bool rename(std::string_view name, const Rename (&table)[N], std::string_view before, std::string& result) {
  for (const auto& [foreign, timm, places] : table) {
    if (!starts_with(name, foreign)) continue;
    const auto rest = name.substr(foreign.size());
    if (!rest.empty() && rest != ".weight" && rest != ".bias") continue;
    result = timm.empty() ? "" : fmt::format("{}{}{}", before, timm, rest);
    return true;
  }
  return false;
}

/// timm's name of a Hugging Face tensor; empty if it is dropped; the name itself if it is unknown.
std::string from_huggingface(const std::string& key, std::string_view prefix) {
  if (starts_with(key, "classifier.")) return "head" + key.substr(key.find('.'));
  if (!starts_with(key, prefix)) return key;
  const auto name = std::string_view(key).substr(prefix.size());
  std::string result;
  for (const auto& [layers, blocks, places] : layer_prefixes) {
    if (!starts_with(name, layers)) continue;
    const size_t dot = name.find('.', layers.size());
    if (dot == std::string_view::npos) continue;
    const auto block = fmt::format("{}{}.", blocks, name.substr(layers.size(), dot - layers.size()));
    if (rename(name.substr(dot + 1), huggingface_layer, block, result)) return result;
  }
  return rename(name, huggingface_outer, "", result) ? result : key;
}

/// The foreign name that is written for timm's `name`, with what follows a module's name kept; empty if the table has none.
template <size_t N>
std::string written(std::string_view name, const Rename (&table)[N], Place place) {
  for (const auto& [foreign, timm, places] : table) {
    if ((places & place) == 0 || timm.empty() || !starts_with(name, timm)) continue;
    const auto rest = name.substr(timm.size());
    if (rest.empty() || rest == ".weight" || rest == ".bias") return fmt::format("{}{}", foreign, rest);
  }
  return "";
}

/// Hugging Face's name of timm's tensor or module, in the classifier of that `model_type`; empty if the table has none.
std::string to_huggingface(const std::string& key, const std::string& model_type, Place place) {
  if (key == "head" || starts_with(key, "head.")) return "classifier" + key.substr(4);
  for (const auto& [layers, blocks, places] : layer_prefixes) {
    const size_t dot = key.find('.', blocks.size());
    if ((places & place) == 0 || !starts_with(key, blocks) || dot == std::string::npos) continue;
    const auto name = written(std::string_view(key).substr(dot + 1), huggingface_layer, place);
    const auto block = std::string_view(key).substr(blocks.size(), dot - blocks.size());
    return name.empty() ? "" : fmt::format("{}.{}{}.{}", model_type, layers, block, name);
  }
  const auto name = written(key, huggingface_outer, place);
  return name.empty() ? "" : fmt::format("{}.{}", model_type, name);
}

/// Renames every tensor; those renamed to nothing are dropped.
template <class RenameKey>
TensorMap renamed(TensorMap tensors, const RenameKey& rename_key) {
  TensorMap result;
  for (auto& [key, tensor] : tensors) {
    const std::string name = rename_key(key);
    if (name.empty()) continue;
    if (!result.emplace(name, std::move(tensor)).second) throw std::runtime_error(fmt::format("'{}': a second '{}'", key, name));
  }
  return result;
}

/// `….attn.q`, `….attn.k` and `….attn.v`, which must be alike, become `….attn.qkv`.
TensorMap fuse_projections(TensorMap tensors) {
  TensorMap fused;
  for (const auto& [key, tensor] : tensors) {
    const size_t at = key.find(".attn.");
    const std::string_view tail = at == std::string::npos ? std::string_view() : std::string_view(key).substr(at + 6);
    if (!starts_with(tail, "q.") && !starts_with(tail, "k.") && !starts_with(tail, "v.")) {
      fused.emplace(key, tensor);
      continue;
    }
    const std::string before = key.substr(0, at + 6), after(tail.substr(1));
    const std::string target = before + "qkv" + after;
    if (fused.count(target) != 0) continue;
    std::vector<at::Tensor> parts;
    for (const char* part : {"q", "k", "v"}) {
      const auto found = tensors.find(before + part + after);
      if (found == tensors.end())
        throw std::runtime_error(fmt::format("'{}{}{}' is missing beside '{}'", before, part, after, key));
      if (found->second.dim() == 0 || found->second.sizes() != tensor.sizes() ||
          found->second.scalar_type() != tensor.scalar_type()) {
        throw std::runtime_error(fmt::format("'{}' and '{}' differ in shape or dtype", key, found->first));
      }
      parts.push_back(found->second);
    }
    fused.emplace(target, at::cat(parts));
  }
  return fused;
}

/// DINOv2 with registers is published with positions for the class token; timm's model has none and takes their sum.
void split_class_position(TensorMap& tensors) {
  const auto positions = tensors.find("pos_embed"), token = tensors.find("cls_token");
  if (positions == tensors.end() || token == tensors.end()) return;
  const auto &all = positions->second, &cls = token->second;
  if (all.dim() != 3 || all.size(1) < 1 || cls.dim() != 3 || cls.size(1) != 1 || cls.size(2) != all.size(2)) {
    throw std::runtime_error("'pos_embed' does not fit 'cls_token'");
  }
  token->second = cls + all.narrow(1, 0, 1);
  positions->second = all.narrow(1, 1, all.size(1) - 1);
}

/// DINOv2's own classifier reads the class token and the patches' mean side by side, which timm's head does not: unless it
/// ignores the mean, it keeps its foreign name.
void set_wide_head_aside(TensorMap& tensors) {
  const auto head = tensors.find("head.weight"), token = tensors.find("cls_token");
  if (head == tensors.end() || token == tensors.end() || head->second.dim() != 2) return;
  if (token->second.dim() == 0 || head->second.size(1) != 2 * token->second.size(-1)) return;
  if (const auto narrow = narrow_head(head->second); narrow.defined()) {
    head->second = narrow;
    return;
  }
  for (const char* name : {"weight", "bias"}) {
    auto node = tensors.extract(std::string("head.") + name);
    if (node.empty()) continue;
    node.key() = std::string("classifier.") + name;
    tensors.insert(std::move(node));
  }
}

/// `….attn.qkv` becomes `….attn.q`, `….attn.k` and `….attn.v`.
TensorMap split_projections(const TensorMap& tensors) {
  constexpr std::string_view fused = ".attn.qkv.";
  TensorMap split;
  for (const auto& [key, tensor] : tensors) {
    const size_t at = key.find(fused);
    if (at == std::string::npos) {
      split.emplace(key, tensor);
      continue;
    }
    const auto parts = tensor.chunk(3);
    for (size_t i = 0; i < 3; ++i) {
      split.emplace(fmt::format("{}.attn.{}.{}", key.substr(0, at), "qkv"[i], key.substr(at + fused.size())), parts[i]);
    }
  }
  return split;
}

bool is_dinov2(const std::string& model_type) {
  if (model_type == "dinov2" || model_type == "dinov2_with_registers") return true;
  if (model_type == "vit") return false;
  throw std::invalid_argument(util::unknown("model type", model_type, {"vit", "dinov2", "dinov2_with_registers"}));
}

}  // namespace

std::string timm_module(const std::string& name, std::string& model_type) {
  for (const auto& prefix : huggingface_prefixes) {
    if (!starts_with(name, prefix)) continue;
    const std::string found = from_huggingface(name, prefix);
    if (found == name) continue;
    model_type = prefix.substr(0, prefix.find('.'));
    return found;
  }
  return "";
}

std::string huggingface_module(const std::string& timm, const std::string& model_type) {
  return to_huggingface(timm, model_type, is_dinov2(model_type) ? kDinov2Module : kVitModule);
}

at::Tensor wide_head(const at::Tensor& weight) {
  return at::cat({weight, at::zeros_like(weight)}, 1);
}

at::Tensor narrow_head(const at::Tensor& weight) {
  const int64_t half = weight.size(1) / 2;
  if (weight.is_meta() || weight.narrow(1, half, half).ne(0).any().item<bool>()) return {};
  return weight.narrow(1, 0, half);
}

TensorMap to_huggingface_layout(const TensorMap& timm_tensors, const std::string& model_type) {
  const bool dinov2 = is_dinov2(model_type);
  TensorMap tensors = split_projections(timm_tensors);
  const auto change = [&](const char* key, const auto& changed) {
    const auto found = tensors.find(key);
    if (found != tensors.end()) found->second = changed(found->second);
  };
  if (dinov2) change("head.weight", wide_head);
  if (model_type == "dinov2_with_registers") {  // timm's class token holds its position, which is zero here
    change("pos_embed", [](const at::Tensor& positions) {
      return at::cat({at::zeros_like(positions.narrow(1, 0, 1)), positions}, 1);
    });
  }
  TensorMap result;
  for (const auto& [key, tensor] : tensors) {
    const std::string name = to_huggingface(key, model_type, dinov2 ? kDinov2File : kVitFile);
    if (name.empty()) throw std::invalid_argument(fmt::format("Hugging Face's {} has no place for '{}'", model_type, key));
    result.emplace(name, tensor);
  }
  if (const auto token = tensors.find("cls_token"); dinov2 && token != tensors.end()) {
    // The token that pretraining puts in the place of masked patches; a classifier of images has it and does not use it.
    result.emplace(model_type + ".embeddings.mask_token", at::zeros_like(token->second.select(1, 0)));
  }
  return result;
}

TensorMap to_timm_layout(TensorMap tensors, std::string& layout) {
  const auto has = [&](std::string_view prefix, const char* name) { return tensors.count(std::string(prefix) + name) != 0; };
  if (has("", "patch_embed.proj.weight") || has("", "blocks.0.norm1.weight")) {
    layout = "timm";
    const bool registers = has("", "register_tokens");
    tensors = renamed(std::move(tensors), [](const std::string& key) {
      std::string result;
      return rename(key, timm_outer, "", result) ? result : key;
    });
    if (registers) split_class_position(tensors);
    return tensors;
  }
  for (const auto& prefix : huggingface_prefixes) {
    if (!has(prefix, "embeddings.patch_embeddings.projection.weight")) continue;
    layout = "huggingface";
    const bool registers = has(prefix, "embeddings.register_tokens");
    tensors =
        fuse_projections(renamed(std::move(tensors), [&](const std::string& key) { return from_huggingface(key, prefix); }));
    if (registers) split_class_position(tensors);
    set_wide_head_aside(tensors);
    return tensors;
  }
  const std::string first =
      tensors.empty() ? "it holds no tensors" : fmt::format("its first tensor is '{}'", tensors.begin()->first);
  throw std::runtime_error("neither timm's nor Hugging Face's names of a Vision Transformer: " + first);
}

int64_t head_classes(const TensorMap& timm_tensors) {
  const auto head = timm_tensors.find("head.weight");
  return head == timm_tensors.end() || head->second.dim() != 2 ? 0 : head->second.size(0);
}

}  // namespace respeft::io
