#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/models/weights.h>

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "src/models/vit/weight_names.h"
#include <respeft/core/text.h>

namespace respeft::models {
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

/// Google's ViT, AugReg and Big Vision, outside the blocks. `kernel`, `scale` and `bias` follow a module's name.
constexpr Rename google_outer[] = {
    {"cls", "cls_token"},
    {"Transformer/posembed_input/pos_embedding", "pos_embed"},
    {"pos_embedding", "pos_embed"},  // Big Vision's
    {"embedding", "patch_embed.proj"},
    {"Transformer/encoder_norm", "norm"},
    {"head", "head"},
    {"pre_logits", ""},  // between the norm and the head; timm has none
};

/// Inside a block. Flax numbers all of a block's modules together, Big Vision each kind by itself.
constexpr Rename google_layer[] = {
    {"LayerNorm_0", "norm1"},
    {"LayerNorm_1", "norm2"},
    {"LayerNorm_2", "norm2"},
    {"MultiHeadDotProductAttention_0/query", "attn.q"},
    {"MultiHeadDotProductAttention_0/key", "attn.k"},
    {"MultiHeadDotProductAttention_0/value", "attn.v"},
    {"MultiHeadDotProductAttention_0/out", "attn.proj"},
    {"MultiHeadDotProductAttention_1/query", "attn.q"},
    {"MultiHeadDotProductAttention_1/key", "attn.k"},
    {"MultiHeadDotProductAttention_1/value", "attn.v"},
    {"MultiHeadDotProductAttention_1/out", "attn.proj"},
    {"MlpBlock_0/Dense_0", "mlp.fc1"},
    {"MlpBlock_0/Dense_1", "mlp.fc2"},
    {"MlpBlock_3/Dense_0", "mlp.fc1"},
    {"MlpBlock_3/Dense_1", "mlp.fc2"},
};

/// What Google's names may stand in: nothing, an optimizer with the parameters as its target, or the parameters of a state.
constexpr std::string_view google_prefixes[] = {"", "opt/target/", "params/"};

/// What a training program's wrappers put before every name of a model.
constexpr std::string_view wrapper_prefixes[] = {"_orig_mod.", "module.", "backbone."};
/// The heads of self-supervised training that stand beside a `backbone.`.
constexpr std::string_view pretraining_heads[] = {"head.", "dino_head.", "ibot_head."};

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

/// What stands for a block's number where a tensor is that of all blocks, one after the other.
constexpr std::string_view kAllBlocks = "blocks.*.";

/// timm's name of a tensor of Google's; empty if it is dropped; the name itself if it is unknown.
std::string from_google(const std::string& key, std::string_view prefix) {
  constexpr std::string_view layers = "Transformer/encoderblock";
  constexpr std::pair<std::string_view, std::string_view> leaves[] = {
      {"/kernel", ".weight"}, {"/scale", ".weight"}, {"/bias", ".bias"}};
  auto name = std::string(std::string_view(key).substr(prefix.size()));
  for (const auto& [foreign, timm] : leaves) {
    if (name.ends_with(foreign)) name.replace(name.size() - foreign.size(), foreign.size(), timm);
  }
  std::string result;
  const size_t slash = name.find('/', layers.size());
  if (starts_with(name, layers) && slash != std::string::npos) {
    const auto block = std::string_view(name).substr(layers.size(), slash - layers.size());
    const bool numbered = block.size() > 1 && block[0] == '_' && block.find_first_not_of("0123456789", 1) == block.npos;
    const auto before = numbered ? fmt::format("blocks.{}.", block.substr(1)) : std::string(kAllBlocks);
    if ((numbered || block.empty()) && rename(name.substr(slash + 1), google_layer, before, result)) return result;
  }
  return rename(name, google_outer, "", result) ? result : key;
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

[[noreturn]] void refuse_shape(const std::string& key, const at::Tensor& tensor, const char* expected) {
  throw std::runtime_error(
      fmt::format("'{}' has shape [{}]; Google's files have {}", key, fmt::join(tensor.sizes(), ", "), expected));
}

/// A tensor of Google's, under timm's name, in timm's shape: Flax has a linear's inputs first, a convolution's kernel before its
/// channels, and attention's heads apart.
at::Tensor to_timm_shape(const std::string& key, const at::Tensor& tensor) {
  const bool projection = key.find(".attn.q.") != std::string::npos || key.find(".attn.k.") != std::string::npos ||
                          key.find(".attn.v.") != std::string::npos;
  if (key == "patch_embed.proj.weight") {
    if (tensor.dim() != 4) refuse_shape(key, tensor, "[height, width, channels, D]");
    return tensor.permute({3, 2, 0, 1});
  }
  if (key.ends_with(".attn.proj.weight")) {
    if (tensor.dim() != 3) refuse_shape(key, tensor, "[heads, D / heads, D]");
    return tensor.flatten(0, 1).t();
  }
  if (projection && key.ends_with(".weight")) {
    if (tensor.dim() != 3) refuse_shape(key, tensor, "[D, heads, D / heads]");
    return tensor.flatten(1).t();
  }
  if (projection) {
    if (tensor.dim() != 2) refuse_shape(key, tensor, "[heads, D / heads]");
    return tensor.flatten();
  }
  return key.ends_with(".weight") && tensor.dim() == 2 ? tensor.t() : tensor;
}

/// `stacked` ones, `blocks.*.…`, which hold one tensor for each block, become `blocks.0.…` and so on.
TensorMap unstacked(TensorMap tensors, const std::set<std::string>& stacked) {
  constexpr int64_t most = 1000;  // no published model comes near
  TensorMap result;
  for (auto& [key, tensor] : tensors) {
    if (stacked.count(key) == 0) {
      result.emplace(key, tensor);
      continue;
    }
    if (tensor.dim() < 1 || tensor.size(0) > most) refuse_shape(key, tensor, "the number of blocks first");
    for (int64_t i = 0; i < tensor.size(0); ++i) {
      const auto name = fmt::format("blocks.{}.{}", i, key.substr(kAllBlocks.size()));
      if (!result.emplace(name, tensor.select(0, i)).second)
        throw std::runtime_error(fmt::format("'{}': it is there twice", name));
    }
  }
  return result;
}

/// Names of a head that no plain model has, so that it is left out.
void set_head_aside(TensorMap& tensors) {
  for (const char* name : {"weight", "bias"}) {
    auto node = tensors.extract(std::string("head.") + name);
    if (node.empty()) continue;
    node.key() = std::string("classifier.") + name;
    tensors.insert(std::move(node));
  }
}

TensorMap google_to_timm(TensorMap tensors, std::string_view prefix) {
  const bool has_pre_logits = tensors.count(fmt::format("{}pre_logits/kernel", prefix)) != 0;
  if (prefix == "opt/target/") {  // beside which lies the optimizer's state
    std::erase_if(tensors, [](const auto& item) { return item.first.starts_with("opt/state/"); });
  }
  std::set<std::string> stacked;  // and not what happens to have such a name
  tensors = renamed(std::move(tensors), [&](const std::string& key) {
    const std::string name = starts_with(key, prefix) ? from_google(key, prefix) : key;
    if (name != key && starts_with(name, kAllBlocks)) stacked.insert(name);
    return name;
  });
  tensors = unstacked(std::move(tensors), stacked);
  for (auto& [key, tensor] : tensors) tensor = to_timm_shape(key, tensor);
  tensors = fuse_projections(std::move(tensors));
  if (has_pre_logits) set_head_aside(tensors);  // it reads what the dropped layer makes
  return tensors;
}

/// Without what wrappers put before the names, which stand in each other a few deep. Beside a `backbone.` there may be heads.
TensorMap without_wrappers(TensorMap tensors) {
  const auto is_head = [](const std::string& key) {
    return std::any_of(std::begin(pretraining_heads), std::end(pretraining_heads),
                       [&](auto head) { return key.starts_with(head); });
  };
  constexpr int deepest = 8;
  int depth = 0;
  for (size_t i = 0; i < std::size(wrapper_prefixes) && depth < deepest;) {
    const std::string_view prefix = wrapper_prefixes[i];
    const auto wrapped = [&](const auto& item) { return starts_with(item.first, prefix); };
    if (!std::any_of(tensors.begin(), tensors.end(), wrapped) ||
        !std::all_of(tensors.begin(), tensors.end(),
                     [&](const auto& item) { return wrapped(item) || (prefix == "backbone." && is_head(item.first)); })) {
      ++i;
      continue;
    }
    tensors = renamed(std::move(tensors),
                      [&](const std::string& key) { return starts_with(key, prefix) ? key.substr(prefix.size()) : key; });
    i = 0;  // they are nested in any order
    ++depth;
  }
  return tensors;
}

/// timm's name of a tensor that is called as in timm or in the original DINOv2, whose large models have their blocks in chunks:
/// `blocks.1.7.…` is block 7.
std::string from_dinov2(const std::string& key) {
  std::string name = key, result;
  if (starts_with(name, "blocks.")) {
    const size_t chunk = name.find('.', 7), block = chunk == std::string::npos ? chunk : name.find('.', chunk + 1);
    const auto number = [&](size_t begin, size_t end) {
      return end != std::string::npos && end > begin && name.find_first_not_of("0123456789", begin) == end;
    };
    if (number(7, chunk) && number(chunk + 1, block)) name.erase(7, chunk - 6);
  }
  return rename(name, timm_outer, "", result) ? result : name;
}

/// DINOv2 with registers is published with positions for the class token; timm's model has none and takes their sum.
void split_class_position(TensorMap& tensors) {
  const auto positions = tensors.find("pos_embed"), token = tensors.find("cls_token");
  if (positions == tensors.end() || token == tensors.end()) return;
  const auto &all = positions->second, &cls = token->second;
  if (all.dim() != 3 || all.size(0) != 1 || all.size(1) < 1 || cls.dim() != 3 || cls.size(0) != 1 || cls.size(1) != 1 ||
      cls.size(2) != all.size(2)) {
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
  } else {
    set_head_aside(tensors);
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
  throw std::invalid_argument(text::unknown("model type", model_type, {"vit", "dinov2", "dinov2_with_registers"}));
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
  tensors = without_wrappers(std::move(tensors));
  const auto has = [&](std::string_view prefix, const char* name) { return tensors.count(std::string(prefix) + name) != 0; };
  if (has("", "patch_embed.proj.weight") || has("", "blocks.0.norm1.weight")) {
    layout = "timm";
    const bool registers = has("", "register_tokens");
    tensors = renamed(std::move(tensors), from_dinov2);
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
  for (const auto& prefix : google_prefixes) {
    if (!has(prefix, "embedding/kernel")) continue;
    layout = "google";
    return google_to_timm(std::move(tensors), prefix);
  }
  const std::string first =
      tensors.empty() ? "it holds no tensors" : fmt::format("its first tensor is '{}'", tensors.begin()->first);
  throw std::runtime_error("neither timm's, Hugging Face's nor Google's names of a Vision Transformer: " + first);
}

int64_t head_classes(const TensorMap& timm_tensors) {
  const auto head = timm_tensors.find("head.weight");
  if (head == timm_tensors.end() || head->second.dim() != 2 || head->second.size(1) == 0) return 0;
  return head->second.size(0);
}

}  // namespace respeft::models
