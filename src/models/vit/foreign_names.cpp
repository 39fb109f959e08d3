#include "src/models/vit/foreign_names.h"

#include <fmt/format.h>

#include <algorithm>

namespace respeft::models::vit {
namespace {

/// One module or tensor in timm and elsewhere. `*` stands for the number of a block.
struct Name {
  std::string_view timm;  ///< empty: it has no part in classifying images
  std::string_view foreign;
  unsigned layouts;
};

/// Every name that is not timm's. Where a layout has several for one module, the first is written and all are read.
constexpr Name kNames[] = {
    {"cls_token", "embeddings.cls_token", kHuggingFace},
    {"cls_token", "cls", kJax},
    {"cls_token", "class_token", kTorchvision},

    {"reg_token", "embeddings.register_tokens", kHuggingFace},
    {"reg_token", "register_tokens", kMeta},

    {"dist_token", "embeddings.distillation_token", kHuggingFace},  // of distilled DeiTs, which are refused

    {"pos_embed", "embeddings.position_embeddings", kHuggingFace},
    {"pos_embed", "Transformer/posembed_input/pos_embedding", kGoogle},
    {"pos_embed", "pos_embedding", kBigVision},
    {"pos_embed", "encoder.pos_embedding", kTorchvision},

    {"patch_embed.proj", "embeddings.patch_embeddings.projection", kHuggingFace},
    {"patch_embed.proj", "embedding", kJax},
    {"patch_embed.proj", "conv_proj", kTorchvision},

    {"blocks.*.norm1", "encoder.layer.*.layernorm_before", kVitFile},
    {"blocks.*.norm1", "layers.*.layernorm_before", kVitModule},
    {"blocks.*.norm1", "encoder.layer.*.norm1", kDinov2},
    {"blocks.*.norm1", "Transformer/encoderblock_*/LayerNorm_0", kJax},
    {"blocks.*.norm1", "encoder.layers.encoder_layer_*.ln_1", kTorchvision},

    {"blocks.*.attn.q", "encoder.layer.*.attention.attention.query", kFiles},
    {"blocks.*.attn.q", "layers.*.attention.q_proj", kVitModule},
    {"blocks.*.attn.q", "encoder.layer.*.attention.q_proj", kDinov2Module},
    {"blocks.*.attn.q", "Transformer/encoderblock_*/MultiHeadDotProductAttention_1/query", kGoogle},
    {"blocks.*.attn.q", "Transformer/encoderblock_*/MultiHeadDotProductAttention_0/query", kBigVision},
    {"blocks.*.attn.k", "encoder.layer.*.attention.attention.key", kFiles},
    {"blocks.*.attn.k", "layers.*.attention.k_proj", kVitModule},
    {"blocks.*.attn.k", "encoder.layer.*.attention.k_proj", kDinov2Module},
    {"blocks.*.attn.k", "Transformer/encoderblock_*/MultiHeadDotProductAttention_1/key", kGoogle},
    {"blocks.*.attn.k", "Transformer/encoderblock_*/MultiHeadDotProductAttention_0/key", kBigVision},
    {"blocks.*.attn.v", "encoder.layer.*.attention.attention.value", kFiles},
    {"blocks.*.attn.v", "layers.*.attention.v_proj", kVitModule},
    {"blocks.*.attn.v", "encoder.layer.*.attention.v_proj", kDinov2Module},
    {"blocks.*.attn.v", "Transformer/encoderblock_*/MultiHeadDotProductAttention_1/value", kGoogle},
    {"blocks.*.attn.v", "Transformer/encoderblock_*/MultiHeadDotProductAttention_0/value", kBigVision},
    {"blocks.*.attn.qkv.weight", "encoder.layers.encoder_layer_*.self_attention.in_proj_weight", kTorchvision},
    {"blocks.*.attn.qkv.bias", "encoder.layers.encoder_layer_*.self_attention.in_proj_bias", kTorchvision},

    {"blocks.*.attn.proj", "encoder.layer.*.attention.output.dense", kFiles},
    {"blocks.*.attn.proj", "layers.*.attention.o_proj", kVitModule},
    {"blocks.*.attn.proj", "encoder.layer.*.attention.o_proj", kDinov2Module},
    {"blocks.*.attn.proj", "Transformer/encoderblock_*/MultiHeadDotProductAttention_1/out", kGoogle},
    {"blocks.*.attn.proj", "Transformer/encoderblock_*/MultiHeadDotProductAttention_0/out", kBigVision},
    {"blocks.*.attn.proj", "encoder.layers.encoder_layer_*.self_attention.out_proj", kTorchvision},

    {"blocks.*.ls1.gamma", "encoder.layer.*.layer_scale1.lambda1", kDinov2},

    {"blocks.*.norm2", "encoder.layer.*.layernorm_after", kVitFile},
    {"blocks.*.norm2", "layers.*.layernorm_after", kVitModule},
    {"blocks.*.norm2", "encoder.layer.*.norm2", kDinov2},
    {"blocks.*.norm2", "Transformer/encoderblock_*/LayerNorm_2", kGoogle},
    {"blocks.*.norm2", "Transformer/encoderblock_*/LayerNorm_1", kBigVision},
    {"blocks.*.norm2", "encoder.layers.encoder_layer_*.ln_2", kTorchvision},

    {"blocks.*.mlp.fc1", "encoder.layer.*.intermediate.dense", kVitFile},
    {"blocks.*.mlp.fc1", "layers.*.mlp.fc1", kVitModule},
    {"blocks.*.mlp.fc1", "encoder.layer.*.mlp.fc1", kDinov2},
    {"blocks.*.mlp.fc1", "Transformer/encoderblock_*/MlpBlock_3/Dense_0", kGoogle},
    {"blocks.*.mlp.fc1", "Transformer/encoderblock_*/MlpBlock_0/Dense_0", kBigVision},
    {"blocks.*.mlp.fc1", "encoder.layers.encoder_layer_*.mlp.0", kTorchvision},
    {"blocks.*.mlp.fc1", "encoder.layers.encoder_layer_*.mlp.linear_1", kTorchvision},  // before version 0.13

    {"blocks.*.mlp.fc2", "encoder.layer.*.output.dense", kVitFile},
    {"blocks.*.mlp.fc2", "layers.*.mlp.fc2", kVitModule},
    {"blocks.*.mlp.fc2", "encoder.layer.*.mlp.fc2", kDinov2},
    {"blocks.*.mlp.fc2", "Transformer/encoderblock_*/MlpBlock_3/Dense_1", kGoogle},
    {"blocks.*.mlp.fc2", "Transformer/encoderblock_*/MlpBlock_0/Dense_1", kBigVision},
    {"blocks.*.mlp.fc2", "encoder.layers.encoder_layer_*.mlp.3", kTorchvision},
    {"blocks.*.mlp.fc2", "encoder.layers.encoder_layer_*.mlp.linear_2", kTorchvision},

    {"blocks.*.ls2.gamma", "encoder.layer.*.layer_scale2.lambda1", kDinov2},

    {"norm", "layernorm", kHuggingFace},
    {"norm", "Transformer/encoder_norm", kJax},
    {"norm", "encoder.ln", kTorchvision},

    {"head", "classifier", kHuggingFace},
    {"head", "head", kJax},
    {"head", "heads.head", kTorchvision},

    {"", "embeddings.mask_token", kHuggingFace},  // of masked-image pretraining
    {"", "mask_token", kMeta},
    {"", "pooler.dense", kHuggingFace},  // of the sequence representation that Hugging Face offers besides the class token
    {"", "pre_logits", kJax},            // between the norm and the head; timm has none
    {"", "heads.pre_logits", kTorchvision},
};

/// True if `name` is `pattern`, or a module of that name with `.weight` or `.bias` behind it. `block` receives what stands for
/// the asterisk, a number, and `rest` what follows the pattern.
bool matches(std::string_view name, std::string_view pattern, std::string_view& block, std::string_view& rest) {
  const size_t star = pattern.find('*');
  block = {};
  if (star != std::string_view::npos) {
    if (!name.starts_with(pattern.substr(0, star))) return false;
    const size_t end = std::min(name.find_first_not_of("0123456789", star), name.size());
    if (end == star) return false;
    block = name.substr(star, end - star);
    name.remove_prefix(end);
    pattern.remove_prefix(star + 1);
  }
  if (!name.starts_with(pattern)) return false;
  rest = name.substr(pattern.size());
  return rest.empty() || rest == ".weight" || rest == ".bias";
}

/// `pattern` with `block` in the place of the asterisk.
std::string filled(std::string_view pattern, std::string_view block, std::string_view rest) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return fmt::format("{}{}", pattern, rest);
  return fmt::format("{}{}{}{}", pattern.substr(0, star), block, pattern.substr(star + 1), rest);
}

}  // namespace

bool to_timm_name(std::string_view name, unsigned layouts, std::string& timm) {
  std::string_view block, rest;
  for (const auto& entry : kNames) {
    if ((entry.layouts & layouts) == 0 || !matches(name, entry.foreign, block, rest)) continue;
    timm = entry.timm.empty() ? std::string() : filled(entry.timm, block, rest);
    return true;
  }
  return false;
}

std::string from_timm_name(std::string_view timm, Layout layout) {
  std::string_view block, rest;
  for (const auto& entry : kNames) {
    if ((entry.layouts & layout) == 0 || entry.timm.empty() || !matches(timm, entry.timm, block, rest)) continue;
    return filled(entry.foreign, block, rest);
  }
  return "";
}

}  // namespace respeft::models::vit
