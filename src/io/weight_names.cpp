#include <ATen/ops/cat.h>
#include <fmt/format.h>
#include <respeft/io/weights.h>

#include <array>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace respeft::io {
namespace {

/// One foreign name and timm's; an empty one says that the tensor has no part in classifying images.
struct Rename {
  std::string_view foreign, timm;
};

/// Hugging Face's ViT and DINOv2, outside the layers. Names are those of modules (`.weight` and `.bias` follow) or tensors.
constexpr Rename huggingface_outer[] = {
    {"embeddings.cls_token", "cls_token"},
    {"embeddings.register_tokens", "reg_token"},
    {"embeddings.position_embeddings", "pos_embed"},
    {"embeddings.patch_embeddings.projection", "patch_embed.proj"},
    {"embeddings.mask_token", ""},  // of masked-image pretraining
    {"layernorm", "norm"},
    {"pooler.dense", ""},  // of the sequence representation that Hugging Face offers besides the class token
};

/// Inside a layer. The second spelling of the attention is that of Transformers 5's modules; files keep the first.
constexpr Rename huggingface_layer[] = {
    {"layernorm_before", "norm1"},
    {"layernorm_after", "norm2"},
    {"norm1", "norm1"},
    {"norm2", "norm2"},
    {"attention.attention.query", "attn.q"},
    {"attention.attention.key", "attn.k"},
    {"attention.attention.value", "attn.v"},
    {"attention.output.dense", "attn.proj"},
    {"attention.q_proj", "attn.q"},
    {"attention.k_proj", "attn.k"},
    {"attention.v_proj", "attn.v"},
    {"attention.o_proj", "attn.proj"},
    {"intermediate.dense", "mlp.fc1"},
    {"output.dense", "mlp.fc2"},
    {"mlp.fc1", "mlp.fc1"},
    {"mlp.fc2", "mlp.fc2"},
    {"layer_scale1.lambda1", "ls1.gamma"},
    {"layer_scale2.lambda1", "ls2.gamma"},
};

/// What comes before the names above: the backbone as such, or inside a classifier.
constexpr std::string_view huggingface_prefixes[] = {"", "vit.", "dinov2.", "dinov2_with_registers."};
constexpr std::string_view layer_prefixes[] = {"encoder.layer.", "layers."};

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
  for (const auto& [foreign, timm] : table) {
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
  for (const auto& layers : layer_prefixes) {
    if (!starts_with(name, layers)) continue;
    const size_t dot = name.find('.', layers.size());
    if (dot == std::string_view::npos) continue;
    const auto block = fmt::format("blocks.{}.", name.substr(layers.size(), dot - layers.size()));
    if (rename(name.substr(dot + 1), huggingface_layer, block, result)) return result;
  }
  return rename(name, huggingface_outer, "", result) ? result : key;
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

/// DINOv2's own classifier reads the class token and the patches' mean side by side, which timm's head does not: it keeps
/// its foreign name.
void set_wide_head_aside(TensorMap& tensors) {
  const auto head = tensors.find("head.weight"), token = tensors.find("cls_token");
  if (head == tensors.end() || token == tensors.end() || head->second.dim() != 2) return;
  if (token->second.dim() == 0 || head->second.size(1) != 2 * token->second.size(-1)) return;
  for (const char* name : {"weight", "bias"}) {
    auto node = tensors.extract(std::string("head.") + name);
    if (node.empty()) continue;
    node.key() = std::string("classifier.") + name;
    tensors.insert(std::move(node));
  }
}

}  // namespace

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
