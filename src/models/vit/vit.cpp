#include <respeft/models/vit/vit.h>

#include <ATen/ATen.h>
#include <torch/nn/init.h>

#include <cmath>

namespace respeft::models {
namespace {

/// timm's epsilon for every norm of a ViT.
constexpr double kNormEps = 1e-6;

nn::LayerNorm make_norm(const VitConfig& config, const at::TensorOptions& options) {
  return nn::LayerNorm(torch::nn::LayerNormOptions({config.embed_dim}).eps(kNormEps), options);
}

/// N(0, std) cut at ±2, by the inverse of the cumulative distribution.
void truncated_normal_(at::Tensor tensor, double std) {
  const double edge = std::erf(2.0 / std / std::sqrt(2.0));
  const at::NoGradGuard no_grad;
  tensor.uniform_(-edge, edge).erfinv_().mul_(std * std::sqrt(2.0)).clamp_(-2.0, 2.0);
}

void start_linear(nn::Linear& linear) {
  const at::NoGradGuard no_grad;
  truncated_normal_(linear->weight, 0.02);
  linear->bias.zero_();
}

/// Stochastic depth: a sample's branch is zeroed with probability `rate`, the others are scaled up.
at::Tensor drop_samples(const at::Tensor& y, double rate) {
  const auto keep = at::empty({y.size(0), 1, 1}, y.options()).bernoulli_(1.0 - rate).div_(1.0 - rate);
  return y * keep;
}

double rate_at(double rate, int64_t block, int64_t depth) {
  return depth > 1 ? rate * static_cast<double>(block) / static_cast<double>(depth - 1) : 0.0;
}

/// `torch::nn::Linear` of zeros, on any device.
struct ZeroLinear : torch::nn::LinearImpl {
  ZeroLinear(int64_t in_features, int64_t out_features, const at::TensorOptions& tensor_options) : LinearImpl(1, 1) {
    options = torch::nn::LinearOptions(in_features, out_features);
    weight = parameters_["weight"] = at::zeros({out_features, in_features}, tensor_options).requires_grad_();
    bias = parameters_["bias"] = at::zeros({out_features}, tensor_options).requires_grad_();
  }
};

}  // namespace

AttentionImpl::AttentionImpl(const VitConfig& config, const at::TensorOptions& options) : heads_(config.num_heads) {
  const int64_t dim = config.embed_dim;
  qkv = register_module("qkv",
                        nn::Linear(torch::nn::LinearOptions(dim, 3 * dim), std::vector<std::string>{"q", "k", "v"}, options));
  proj = register_module("proj", nn::Linear(torch::nn::LinearOptions(dim, dim), std::vector<std::string>{}, options));
}

at::Tensor AttentionImpl::forward(const at::Tensor& x, nn::ForwardPass& pass, int64_t queries) {
  const int64_t batch = x.size(0), dim = x.size(2);
  // [B, T, parts · D] -> parts × [B, heads, T, D / heads]
  const auto split = [&](const at::Tensor& y) {
    return y.view({batch, y.size(1), -1, heads_, dim / heads_}).permute({2, 0, 3, 1, 4}).unbind(0);
  };
  at::Tensor q, k, v;
  if (queries < 0) {
    const auto parts = split(qkv->run(x, pass));
    q = parts[0], k = parts[1], v = parts[2];
  } else {
    {
      const nn::FirstTokens only(pass, queries);
      q = split(qkv->run(x.narrow(1, 0, queries), pass, {0, 1}))[0];
    }
    const auto parts = split(qkv->run(x, pass, {1, 3}));
    k = parts[0], v = parts[1];
  }
  const auto mixed = at::scaled_dot_product_attention(q, k, v);
  const nn::FirstTokens only(pass, queries);
  return proj->run(mixed.transpose(1, 2).reshape({batch, q.size(2), dim}), pass);
}

MlpImpl::MlpImpl(const VitConfig& config, const at::TensorOptions& options) {
  const std::vector<std::string> single;
  fc1 = register_module("fc1", nn::Linear(torch::nn::LinearOptions(config.embed_dim, config.mlp_dim), single, options));
  fc2 = register_module("fc2", nn::Linear(torch::nn::LinearOptions(config.mlp_dim, config.embed_dim), single, options));
}

at::Tensor MlpImpl::forward(const at::Tensor& x, nn::ForwardPass& pass) {
  return fc2->run(at::gelu(fc1->run(x, pass)), pass);
}

LayerScaleImpl::LayerScaleImpl(int64_t features, double initial, const at::TensorOptions& options) {
  gamma = register_parameter("gamma", at::full({features}, initial, options));
}

BlockImpl::BlockImpl(const VitConfig& config, const at::TensorOptions& options, int64_t block)
    : drop_path_(rate_at(config.drop_path, block, config.depth)),
      branch_dropout_(rate_at(config.branch_dropout, block, config.depth)) {
  const int64_t patch_numbers = config.in_channels * config.patch_size * config.patch_size;
  entry = register_module("tokens", nn::Tokens(config.embed_dim, patch_numbers));
  norm1 = register_module("norm1", make_norm(config, options));
  attn = register_module("attn", Attention(config, options));
  if (config.layer_scale) ls1 = register_module("ls1", LayerScale(config.embed_dim, *config.layer_scale, options));
  attn_branch = register_module("attn_branch", nn::Branch(config.embed_dim));
  norm2 = register_module("norm2", make_norm(config, options));
  mlp = register_module("mlp", Mlp(config, options));
  if (config.layer_scale) ls2 = register_module("ls2", LayerScale(config.embed_dim, *config.layer_scale, options));
  mlp_branch = register_module("mlp_branch", nn::Branch(config.embed_dim));
  const auto place = [block](nn::Site& site, const char* role) { site.set_place({role, block}); };
  place(*entry, "tokens");
  place(*norm1, "norm1"), place(*attn->qkv, "qkv"), place(*attn->proj, "proj"), place(*attn_branch, "attn_branch");
  place(*norm2, "norm2"), place(*mlp->fc1, "fc1"), place(*mlp->fc2, "fc2"), place(*mlp_branch, "mlp_branch");
}

at::Tensor BlockImpl::forward(const at::Tensor& x, nn::ForwardPass& pass, int64_t queries) {
  const auto asking = queries < 0 ? x : x.narrow(1, 0, queries);
  const auto attention = scaled(attn->forward(norm1->run(x, pass), pass, queries), ls1);
  const nn::FirstTokens only(pass, queries);
  const auto attended = asking + attn_branch->forward(asking, attention, pass);
  return attended + mlp_branch->forward(attended, scaled(mlp->forward(norm2->run(attended, pass), pass), ls2), pass);
}

at::Tensor BlockImpl::scaled(const at::Tensor& y, LayerScale& scale) const {
  auto output = scale.is_empty() ? y : scale->forward(y);
  if (!is_training()) return output;
  if (branch_dropout_ > 0.0) output = at::dropout(output, branch_dropout_, true);
  if (drop_path_ > 0.0) output = drop_samples(output, drop_path_);
  return output;
}

PatchEmbedImpl::PatchEmbedImpl(const VitConfig& config, const at::TensorOptions& options) {
  proj = register_module("proj", nn::PatchProjection(config.in_channels, config.embed_dim, config.patch_size, options));
}

VisionTransformerImpl::VisionTransformerImpl(const VitConfig& vit_config, at::Device device) : config(vit_config) {
  const auto options = at::TensorOptions().device(device);
  const int64_t dim = config.embed_dim;
  if (config.class_token) cls_token = register_parameter("cls_token", at::zeros({1, 1, dim}, options));
  if (config.register_tokens > 0)
    reg_token = register_parameter("reg_token", at::zeros({1, config.register_tokens, dim}, options));
  const int64_t positions = config.grid() * config.grid() + (config.position_for_prefix ? config.prefix_tokens() : 0);
  pos_embed = register_parameter("pos_embed", at::empty({1, positions, dim}, options));
  patch_embed = register_module("patch_embed", PatchEmbed(config, options));
  auto& list = *register_module("blocks", std::make_shared<torch::nn::Module>("blocks"));
  for (int64_t i = 0; i < config.depth; ++i) {
    blocks.push_back(Block(config, options, i));
    list.register_module(std::to_string(i), blocks.back());
  }
  auto& final_norm = config.mean_pooling ? fc_norm : norm;
  final_norm = register_module(config.mean_pooling ? "fc_norm" : "norm", make_norm(config, options));
  initialize();
  reset_head(config.num_classes);
}

void VisionTransformerImpl::initialize() {
  truncated_normal_(pos_embed, 0.02);
  const at::NoGradGuard no_grad;
  if (cls_token.defined()) cls_token.normal_(0.0, 1e-6);
  if (reg_token.defined()) reg_token.normal_(0.0, 1e-6);
  for (auto& block : blocks) {
    for (auto* linear : {&block->attn->qkv, &block->attn->proj, &block->mlp->fc1, &block->mlp->fc2}) start_linear(*linear);
  }
}

void VisionTransformerImpl::reset_head(int64_t num_classes) {
  config.num_classes = num_classes;
  if (!head.is_empty()) unregister_module("head");
  head = nullptr;
  if (num_classes == 0) return;
  const std::shared_ptr<torch::nn::LinearImpl> zeros =
      std::make_shared<ZeroLinear>(config.embed_dim, num_classes, pos_embed.options());
  head = register_module("head", torch::nn::Linear(zeros));
}

at::Tensor VisionTransformerImpl::embed(const at::Tensor& images, nn::ForwardPass& pass) {
  TORCH_CHECK(images.dim() == 4 && images.size(1) == config.in_channels && images.size(2) == config.image_size &&
                  images.size(3) == config.image_size,
              config.name, ": expected images [B, ", config.in_channels, ", ", config.image_size, ", ", config.image_size,
              "], got ", images.sizes());
  const auto patches = patch_embed->forward(images, pass);
  const int64_t batch = images.size(0);
  std::vector<at::Tensor> tokens;
  if (cls_token.defined()) tokens.push_back(cls_token.expand({batch, -1, -1}));
  if (reg_token.defined()) tokens.push_back(reg_token.expand({batch, -1, -1}));
  tokens.push_back(config.position_for_prefix ? patches : patches + pos_embed);
  const auto x = tokens.size() == 1 ? tokens[0] : at::cat(tokens, 1);
  return config.position_for_prefix ? x + pos_embed : x;
}

at::Tensor VisionTransformerImpl::forward_features(const at::Tensor& images, nn::ForwardPass& pass) {
  auto x = embed(images, pass);
  for (int64_t i = 0; i < config.depth; ++i) {
    const bool class_token_only = !config.mean_pooling && i + 1 == config.depth;
    auto& block = *blocks[static_cast<size_t>(i)];
    x = block.forward(block.entry->forward(x, config.tokens(), pass), pass, class_token_only ? 1 : -1);
  }
  return config.mean_pooling ? x.narrow(1, 0, config.tokens()) : norm->run(x, pass);
}

at::Tensor VisionTransformerImpl::pool(const at::Tensor& tokens, nn::ForwardPass& pass) {
  if (!config.mean_pooling) return tokens.select(1, 0);
  return fc_norm->run(tokens.slice(1, config.prefix_tokens()).mean(1), pass);
}

at::Tensor VisionTransformerImpl::forward(const Batch& batch, nn::ForwardPass& pass) {
  return classify(features(batch, pass));
}

at::Tensor VisionTransformerImpl::features(const Batch& batch, nn::ForwardPass& pass) {
  return pool(forward_features(batch.at(kPixels), pass), pass);
}

const ModelFamily& VisionTransformerImpl::family() const {
  return vit_family();
}

at::Tensor VisionTransformerImpl::classify(const at::Tensor& features) {
  return head.is_empty() ? features : head->forward(features);
}

int64_t VisionTransformerImpl::macs() const {
  const int64_t dim = config.embed_dim, tokens = config.tokens(), patches = config.grid() * config.grid();
  const int64_t per_token = 2 * dim * dim + 2 * dim * config.mlp_dim;  // q, proj, fc1, fc2
  const auto block = [&](int64_t queries) { return 2 * tokens * dim * dim + queries * (per_token + 2 * tokens * dim); };
  const int64_t last = config.mean_pooling ? tokens : 1;
  return patches * config.in_channels * config.patch_size * config.patch_size * dim + (config.depth - 1) * block(tokens) +
         block(last) + dim * config.num_classes;
}

}  // namespace respeft::models
