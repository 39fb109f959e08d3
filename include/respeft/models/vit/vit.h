#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/linear.h>

#include <optional>

#include <respeft/models/family.h>
#include <respeft/models/model.h>
#include <respeft/nn/branch.h>
#include <respeft/nn/layer_norm.h>
#include <respeft/nn/linear.h>
#include <respeft/nn/patch_embed.h>
#include <respeft/nn/tokens.h>

namespace respeft::models {

/// The shape of a Vision Transformer. Source: Dosovitskiy et al. 2021; the options are those of timm's `VisionTransformer`.
struct VitConfig {
  std::string name;
  int64_t image_size = 224;
  int64_t patch_size = 16;
  int64_t in_channels = 3;
  int64_t num_classes = 1000;
  int64_t embed_dim = 768;
  int64_t depth = 12;
  int64_t num_heads = 12;
  int64_t mlp_dim = 3072;
  bool class_token = true;
  int64_t register_tokens = 0;
  bool position_for_prefix =
      true;  ///< true if the position embedding has entries for the prefix tokens (timm: not `no_embed_class`)
  std::optional<double> layer_scale;  ///< initial value; none: no layer scale
  bool mean_pooling = false;          ///< mean over the patches, then `fc_norm`; otherwise `norm`, then the class token
  double drop_path = 0.0;
  double branch_dropout = 0.0;

  int64_t grid() const { return image_size / patch_size; }
  int64_t prefix_tokens() const { return (class_token ? 1 : 0) + register_tokens; }
  int64_t tokens() const { return grid() * grid() + prefix_tokens(); }
};

/// Multi-head self-attention with q, k and v fused in one weight (parts `q`, `k`, `v`).
class AttentionImpl : public torch::nn::Module {
 public:
  AttentionImpl(const VitConfig& config, const at::TensorOptions& options);
  /// `x [B, T, D]` -> `[B, Q, D]`, with queries only for the first `queries` tokens (negative: all).
  at::Tensor forward(const at::Tensor& x, nn::ForwardPass& pass, int64_t queries = -1);

  nn::Linear qkv{nullptr}, proj{nullptr};

 private:
  int64_t heads_;
};
TORCH_MODULE(Attention);

/// fc1, GELU, fc2.
class MlpImpl : public torch::nn::Module {
 public:
  MlpImpl(const VitConfig& config, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x, nn::ForwardPass& pass);

  nn::Linear fc1{nullptr}, fc2{nullptr};
};
TORCH_MODULE(Mlp);

/// A learned gain per feature on a branch's output. Source: Touvron et al. 2021 (CaiT).
class LayerScaleImpl : public torch::nn::Module {
 public:
  LayerScaleImpl(int64_t features, double initial, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) { return x * gamma; }

  at::Tensor gamma;
};
TORCH_MODULE(LayerScale);

/// A pre-norm Transformer block.
class BlockImpl : public torch::nn::Module {
 public:
  /// Block number `block` (from 0) of `config.depth`, which determines its drop rates.
  BlockImpl(const VitConfig& config, const at::TensorOptions& options, int64_t block);
  /// `x [B, T, D]` -> the output of the first `queries` tokens `[B, Q, D]` (negative: all).
  at::Tensor forward(const at::Tensor& x, nn::ForwardPass& pass, int64_t queries = -1);

  nn::Tokens entry{nullptr};
  nn::LayerNorm norm1{nullptr};
  Attention attn{nullptr};
  LayerScale ls1{nullptr};
  nn::Branch attn_branch{nullptr};
  nn::LayerNorm norm2{nullptr};
  Mlp mlp{nullptr};
  LayerScale ls2{nullptr};
  nn::Branch mlp_branch{nullptr};

 private:
  /// A branch's contribution to the residual stream: with layer scale and, in training, with this block's drop rates.
  at::Tensor scaled(const at::Tensor& y, LayerScale& scale) const;

  double drop_path_, branch_dropout_;
};
TORCH_MODULE(Block);

/// The projection of an image to tokens.
class PatchEmbedImpl : public torch::nn::Module {
 public:
  PatchEmbedImpl(const VitConfig& config, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& images, nn::ForwardPass& pass) { return proj->run(images, pass); }

  nn::PatchProjection proj{nullptr};
};
TORCH_MODULE(PatchEmbed);

/// Vision Transformer. If only the class token is used, the last block computes queries, projection and MLP only for it.
class VisionTransformerImpl : public Model {
 public:
  /// Initializes the weights as timm does (truncated normal, std 0.02), except on `at::kMeta`.
  explicit VisionTransformerImpl(const VitConfig& config, at::Device device = at::kCPU);

  using Model::forward;
  /// Reads `pixels [B, C, S, S]`.
  at::Tensor forward(const Batch& batch, nn::ForwardPass& pass) override;
  at::Tensor features(const Batch& batch, nn::ForwardPass& pass) override;
  at::Tensor classify(const at::Tensor& features) override;
  /// The tokens that pooling reads: the class token `[B, 1, D]` after the final norm, or with mean pooling all `[B, T, D]`.
  at::Tensor forward_features(const at::Tensor& images, nn::ForwardPass& pass);
  /// The tokens of `forward_features` -> the head's input, `[B, D]`.
  at::Tensor pool(const at::Tensor& tokens, nn::ForwardPass& pass);

  const std::string& name() const override { return config.name; }
  const ModelFamily& family() const override;
  InputSpec input() const override { return {.shape = {config.in_channels, config.image_size, config.image_size}}; }
  int64_t num_classes() const override { return config.num_classes; }
  void reset_head(int64_t num_classes) override;
  int64_t macs() const override;

  VitConfig config;
  at::Tensor cls_token;  ///< `[1, 1, D]`, or undefined
  at::Tensor reg_token;  ///< `[1, R, D]`, or undefined
  at::Tensor pos_embed;  ///< `[1, tokens or patches, D]`
  PatchEmbed patch_embed{nullptr};
  std::vector<Block> blocks;
  nn::LayerNorm norm{nullptr};     ///< null with mean pooling
  nn::LayerNorm fc_norm{nullptr};  ///< only with mean pooling
  torch::nn::Linear head{nullptr};

 private:
  void initialize();
  at::Tensor embed(const at::Tensor& images, nn::ForwardPass& pass);
};
TORCH_MODULE(VisionTransformer);

/// timm's configuration of `name`, changed by `options`. Throws `std::invalid_argument` on an unknown name or size.
VitConfig vit_config(const std::string& name, const ModelOptions& options = {});

/// The family of Vision Transformers, with timm's names.
const ModelFamily& vit_family();

}  // namespace respeft::models
