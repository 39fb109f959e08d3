#pragma once

#include <torch/nn/pimpl.h>

#include <respeft/nn/site.h>

namespace respeft::nn {

/// The convolution that turns an image into patch tokens (timm's `patch_embed.proj`), with a site.
class PatchProjectionImpl : public WeightSite {
 public:
  /// `weight [embed_dim, in_channels, patch_size, patch_size]`, `bias [embed_dim]`.
  PatchProjectionImpl(int64_t in_channels, int64_t embed_dim, int64_t patch_size, const at::TensorOptions& tensor_options = {});

  /// Images `[B, C, H, W]`, H and W multiples of the patch size -> tokens `[B, H/p · W/p, embed_dim]`, row by row.
  at::Tensor forward(const at::Tensor& images) { return run(images); }

  SiteKind kind() const override { return SiteKind::Patch; }
  int64_t in_features() const override { return weight.size(1) * weight.size(2) * weight.size(3); }
  int64_t out_features() const override { return weight.size(0); }
  int64_t patch_size() const { return weight.size(2); }
  at::Tensor compute(const at::Tensor& images, const at::Tensor& w, const at::Tensor& b) const override;
  void pretty_print(std::ostream& stream) const override;
};
TORCH_MODULE(PatchProjection);

}  // namespace respeft::nn
