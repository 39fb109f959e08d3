#include "src/models/vit/torchscript.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "src/models/scripting.h"

namespace respeft::models::vit {
namespace {

using scripting::Builder;
using torch::jit::Module;

Module layer_scale_module(const LayerScale& layer) {
  return Builder("LayerScale").tensor("gamma", layer->gamma).define(R"(
def forward(self, x):
    return x * self.gamma
)");
}

Module patch_embed_module(const PatchEmbed& layer) {
  const int64_t size = layer->proj->patch_size();
  const Module proj = Builder("PatchProjection")
                          .tensor("weight", layer->proj->weight)
                          .tensor("bias", layer->proj->bias)
                          .define(fmt::format(R"(
def forward(self, images):
    return torch.conv2d(images, self.weight, self.bias, [{0}, {0}])
)",
                                              size));
  return Builder("PatchEmbed").child("proj", proj).define(R"(
def forward(self, images):
    return self.proj.forward(images).flatten(2).transpose(1, 2)
)");
}

/// Attention for every token. q, k, v: `[B, heads, T, D / heads]`.
constexpr const char* attention_source = R"(
def forward(self, x):
    qkv = self.qkv.forward(x).view([x.size(0), x.size(1), 3, {heads}, {head_dim}]).permute([2, 0, 3, 1, 4])
    mixed = torch.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
    return self.proj.forward(mixed.transpose(1, 2).reshape([x.size(0), x.size(1), {dim}]))
)";

/// Attention in which the first token alone asks: the weight's first rows are the queries', the others the keys' and values'.
constexpr const char* class_token_attention_source = R"(
def project(self, x, begin: int, end: int):
    bias = self.qkv.bias
    return torch.linear(x, self.qkv.weight[begin:end], {bias}).view([x.size(0), x.size(1), -1, {heads}, {head_dim}]).permute([2, 0, 3, 1, 4])

def forward(self, x):
    q = self.project(x[:, :1], 0, {dim})
    kv = self.project(x, {dim}, 3 * {dim})
    mixed = torch.scaled_dot_product_attention(q[0], kv[0], kv[1])
    return self.proj.forward(mixed.transpose(1, 2).reshape([x.size(0), 1, {dim}]))
)";

Module attention_module(const Attention& layer, const VitConfig& config, bool class_token_only) {
  Builder builder("Attention");
  builder.child("qkv", scripting::linear(layer->qkv->weight, layer->qkv->bias))
      .child("proj", scripting::linear(layer->proj->weight, layer->proj->bias));
  return builder.define(fmt::format(fmt::runtime(class_token_only ? class_token_attention_source : attention_source),
                                    fmt::arg("heads", config.num_heads),
                                    fmt::arg("head_dim", config.embed_dim / config.num_heads), fmt::arg("dim", config.embed_dim),
                                    fmt::arg("bias", layer->qkv->bias.defined() ? "bias[begin:end]" : "bias")));
}

Module mlp_module(const Mlp& layer) {
  return Builder("Mlp")
      .child("fc1", scripting::linear(layer->fc1->weight, layer->fc1->bias))
      .child("fc2", scripting::linear(layer->fc2->weight, layer->fc2->bias))
      .define(R"(
def forward(self, x):
    return self.fc2.forward(torch.gelu(self.fc1.forward(x)))
)");
}

/// A block. Adapters that do not fold stand in it as modules of their own, named as their sites.
Module block_module(const BlockImpl& layer, const VitConfig& config, bool class_token_only) {
  Builder builder("Block");
  builder.child("norm1", scripting::layer_norm(layer.norm1))
      .child("attn", attention_module(layer.attn, config, class_token_only));
  builder.child("norm2", scripting::layer_norm(layer.norm2)).child("mlp", mlp_module(layer.mlp));
  const bool scaled = !layer.ls1.is_empty();
  if (scaled) builder.child("ls1", layer_scale_module(layer.ls1)).child("ls2", layer_scale_module(layer.ls2));
  const auto adapted = [&](const char* name, const nn::Site& site) {
    const auto script = scripting::adapter(site);
    if (script) builder.child(name, *script);
    return script.has_value();
  };
  const bool entry = adapted("tokens", *layer.entry), after_attention = adapted("attn_branch", *layer.attn_branch),
             after_mlp = adapted("mlp_branch", *layer.mlp_branch);
  return builder.define(fmt::format(
      R"(
def forward(self, x):
{entry}    stream = {asking}
    attention = {ls1}(self.attn.forward(self.norm1.forward(x)))
{after_attention}    stream = stream + attention
    mlp = {ls2}(self.mlp.forward(self.norm2.forward(stream)))
{after_mlp}    return stream + mlp
)",
      fmt::arg("asking", class_token_only ? "x[:, :1]" : "x"), fmt::arg("ls1", scaled ? "self.ls1.forward" : ""),
      fmt::arg("ls2", scaled ? "self.ls2.forward" : ""),
      fmt::arg("entry", entry ? fmt::format("    x = self.tokens.forward(x, {})\n", config.tokens()) : ""),
      fmt::arg("after_attention", after_attention ? "    attention = self.attn_branch.forward(stream, attention)\n" : ""),
      fmt::arg("after_mlp", after_mlp ? "    mlp = self.mlp_branch.forward(stream, mlp)\n" : "")));
}

/// The whole model's forward, line by line.
std::string forward_source(const VitConfig& config, bool has_head) {
  std::string prefix;
  if (config.class_token) prefix += "self.cls_token.expand([batch, -1, -1]), ";
  if (config.register_tokens > 0) prefix += "self.reg_token.expand([batch, -1, -1]), ";
  std::string source = fmt::format(R"(
def forward(self, images):
    assert images.dim() == 4 and images.size(2) == {0} and images.size(3) == {0}, "expected images [B, {1}, {0}, {0}]"
    batch = images.size(0)
    x = self.patch_embed.forward(images)
)",
                                   config.image_size, config.in_channels);
  if (!config.position_for_prefix) source += "    x = x + self.pos_embed\n";
  if (!prefix.empty()) source += fmt::format("    x = torch.cat([{}x], 1)\n", prefix);
  if (config.position_for_prefix) source += "    x = x + self.pos_embed\n";
  for (int64_t i = 0; i < config.depth; ++i) source += fmt::format("    x = getattr(self.blocks, \"{}\").forward(x)\n", i);
  source += config.mean_pooling
                ? fmt::format("    x = self.fc_norm.forward(x[:, {}:{}].mean([1]))\n", config.prefix_tokens(), config.tokens())
                : std::string("    x = self.norm.forward(x)[:, 0]\n");
  return source + (has_head ? "    return self.head.forward(x)\n" : "    return x\n");
}

}  // namespace

Module scripted(const VisionTransformerImpl& vit) {
  const auto& config = vit.config;
  Builder blocks("Blocks");
  for (int64_t i = 0; i < config.depth; ++i) {
    const bool class_token_only = !config.mean_pooling && i + 1 == config.depth;
    blocks.child(std::to_string(i), block_module(*vit.blocks[static_cast<size_t>(i)], config, class_token_only));
  }
  Builder builder("VisionTransformer");
  if (vit.cls_token.defined()) builder.tensor("cls_token", vit.cls_token);
  if (vit.reg_token.defined()) builder.tensor("reg_token", vit.reg_token);
  builder.tensor("pos_embed", vit.pos_embed)
      .child("patch_embed", patch_embed_module(vit.patch_embed))
      .child("blocks", blocks.module());
  builder.child(config.mean_pooling ? "fc_norm" : "norm", scripting::layer_norm(config.mean_pooling ? vit.fc_norm : vit.norm));
  const bool has_head = !vit.head.is_empty();
  if (has_head) builder.child("head", scripting::linear(vit.head->weight, vit.head->bias));
  return builder.define(forward_source(config, has_head));
}

}  // namespace respeft::models::vit
