#include "src/models/vit/layouts.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/nn/names.h>

#include <set>
#include <stdexcept>

#include "src/models/vit/foreign_names.h"

namespace respeft::models::vit {
namespace {

[[noreturn]] void refuse_shape(const std::string& key, const at::Tensor& tensor, const char* expected) {
  throw std::runtime_error(
      fmt::format("'{}' has shape [{}]; Google's files have {}", key, fmt::join(tensor.sizes(), ", "), expected));
}

bool is_projection(const std::string& key) {
  return key.find(".attn.q.") != std::string::npos || key.find(".attn.k.") != std::string::npos ||
         key.find(".attn.v.") != std::string::npos;
}

/// A tensor of Google's, under timm's name, in timm's shape.
at::Tensor from_google_shape(const std::string& key, const at::Tensor& tensor) {
  if (key == "patch_embed.proj.weight") {
    if (tensor.dim() != 4) refuse_shape(key, tensor, "[height, width, channels, D]");
    return tensor.permute({3, 2, 0, 1});
  }
  if (key.ends_with(".attn.proj.weight")) {
    if (tensor.dim() != 3) refuse_shape(key, tensor, "[heads, D / heads, D]");
    return tensor.flatten(0, 1).t();
  }
  if (is_projection(key) && key.ends_with(".weight")) {
    if (tensor.dim() != 3) refuse_shape(key, tensor, "[D, heads, D / heads]");
    return tensor.flatten(1).t();
  }
  if (is_projection(key)) {
    if (tensor.dim() != 2) refuse_shape(key, tensor, "[heads, D / heads]");
    return tensor.flatten();
  }
  return key.ends_with(".weight") && tensor.dim() == 2 ? tensor.t() : tensor;
}

/// What stands for a block's number where a tensor is that of all blocks, one after the other.
constexpr std::string_view kAllBlocks = "blocks.*.";

/// timm's name of a tensor of Google's; empty if it is dropped; the name itself if it is unknown.
std::string from_google_name(const std::string& key, std::string_view prefix) {
  constexpr std::string_view stacked = "Transformer/encoderblock/", first = "Transformer/encoderblock_0/";
  constexpr std::pair<std::string_view, std::string_view> leaves[] = {
      {"/kernel", ".weight"}, {"/scale", ".weight"}, {"/bias", ".bias"}};
  auto name = key.substr(prefix.size());
  for (const auto& [foreign, timm] : leaves) {
    if (name.ends_with(foreign)) name.replace(name.size() - foreign.size(), foreign.size(), timm);
  }
  const bool all = name.starts_with(stacked);
  if (all) name.replace(0, stacked.size(), first);
  std::string timm;
  if (!to_timm_name(name, kJax, timm)) return key;
  if (all && !timm.empty()) timm.replace(0, std::string_view("blocks.0.").size(), kAllBlocks);
  return timm;
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

/// timm's name of a Hugging Face tensor; empty if it is dropped; the name itself if it is unknown.
std::string from_huggingface_name(const std::string& key, std::string_view prefix) {
  const bool classifier = key.starts_with("classifier.");  // stands beside the backbone
  if (!classifier && !key.starts_with(prefix)) return key;
  std::string timm;
  return to_timm_name(std::string_view(key).substr(classifier ? 0 : prefix.size()), kHuggingFace, timm) ? timm : key;
}

/// timm's name of a tensor that is called as in timm or in the original DINOv2, whose large models have their blocks in chunks:
/// `blocks.1.7.…` is block 7.
std::string from_meta_name(const std::string& key) {
  std::string name = key, timm;
  if (name.starts_with("blocks.")) {
    const size_t chunk = name.find('.', 7), block = chunk == std::string::npos ? chunk : name.find('.', chunk + 1);
    const auto number = [&](size_t begin, size_t end) {
      return end != std::string::npos && end > begin && name.find_first_not_of("0123456789", begin) == end;
    };
    if (number(7, chunk) && number(chunk + 1, block)) name.erase(7, chunk - 6);
  }
  return to_timm_name(name, kMeta, timm) ? timm : name;
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
  const auto head = tensors.find(nn::kHeadWeight), token = tensors.find("cls_token");
  if (head == tensors.end() || token == tensors.end() || head->second.dim() != 2) return;
  if (token->second.dim() == 0 || head->second.size(1) != 2 * token->second.size(-1)) return;
  if (const auto narrow = narrow_head(head->second); narrow.defined()) {
    head->second = narrow;
  } else {
    set_head_aside(tensors);
  }
}

}  // namespace

TensorMap renamed(TensorMap tensors, const std::function<std::string(const std::string&)>& rename) {
  TensorMap result;
  for (auto& [key, tensor] : tensors) {
    const std::string name = rename(key);
    if (name.empty()) continue;
    if (!result.emplace(name, std::move(tensor)).second) throw std::runtime_error(fmt::format("'{}': a second '{}'", key, name));
  }
  return result;
}

TensorMap fuse_projections(TensorMap tensors) {
  TensorMap fused;
  for (const auto& [key, tensor] : tensors) {
    const size_t at = key.find(".attn.");
    const std::string_view tail = at == std::string::npos ? std::string_view() : std::string_view(key).substr(at + 6);
    if (!tail.starts_with("q.") && !tail.starts_with("k.") && !tail.starts_with("v.")) {
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

void set_head_aside(TensorMap& tensors) {
  for (const std::string name : {nn::kHeadWeight, nn::kHeadBias}) {
    auto node = tensors.extract(name);
    if (node.empty()) continue;
    node.key() = fmt::format("classifier.{}", std::string_view(name).substr(nn::kHeadPrefix.size()));
    tensors.insert(std::move(node));
  }
}

at::Tensor wide_head(const at::Tensor& weight) {
  return at::cat({weight, at::zeros_like(weight)}, 1);
}

at::Tensor narrow_head(const at::Tensor& weight) {
  const int64_t half = weight.size(1) / 2;
  if (weight.is_meta() || weight.narrow(1, half, half).ne(0).any().item<bool>()) return {};
  return weight.narrow(1, 0, half);
}

OwnTensors from_timm(TensorMap tensors) {
  const bool registers = tensors.count("register_tokens") != 0;
  tensors = renamed(std::move(tensors), from_meta_name);
  if (registers) split_class_position(tensors);
  return {std::move(tensors), "timm", std::nullopt};
}

OwnTensors from_huggingface(TensorMap tensors, std::string_view prefix) {
  const bool registers = tensors.count(fmt::format("{}embeddings.register_tokens", prefix)) != 0;
  tensors =
      fuse_projections(renamed(std::move(tensors), [&](const std::string& key) { return from_huggingface_name(key, prefix); }));
  if (registers) split_class_position(tensors);
  set_wide_head_aside(tensors);
  return {std::move(tensors), "huggingface", std::nullopt};
}

OwnTensors from_google(TensorMap tensors, std::string_view prefix) {
  const bool has_pre_logits = tensors.count(fmt::format("{}pre_logits/kernel", prefix)) != 0;
  if (prefix == "opt/target/") {  // beside which lies the optimizer's state
    std::erase_if(tensors, [](const auto& item) { return item.first.starts_with("opt/state/"); });
  }
  std::set<std::string> stacked;  // and not what happens to have such a name
  tensors = renamed(std::move(tensors), [&](const std::string& key) {
    const std::string name = key.starts_with(prefix) ? from_google_name(key, prefix) : key;
    if (name != key && name.starts_with(kAllBlocks)) stacked.insert(name);
    return name;
  });
  OwnTensors own{unstacked(std::move(tensors), stacked), "google", std::nullopt};
  for (auto& [key, tensor] : own.tensors) {
    if (!own.heads && key.ends_with(".attn.q.weight") && tensor.dim() == 3) own.heads = tensor.size(1);
    tensor = from_google_shape(key, tensor);
  }
  own.tensors = fuse_projections(std::move(own.tensors));
  if (has_pre_logits) set_head_aside(own.tensors);  // it reads what the dropped layer makes
  return own;
}

OwnTensors from_torchvision(TensorMap tensors) {
  const bool has_pre_logits = tensors.count("heads.pre_logits.weight") != 0;
  OwnTensors own;
  own.layout = "torchvision";
  own.tensors = renamed(std::move(tensors), [](const std::string& key) {
    std::string timm;
    return to_timm_name(key, kTorchvision, timm) ? timm : key;
  });
  if (has_pre_logits) set_head_aside(own.tensors);
  return own;
}

}  // namespace respeft::models::vit
