#include <respeft/nn/patch_embed.h>

#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <torch/nn/init.h>

#include <cmath>
#include <ostream>

namespace respeft::nn {

PatchProjectionImpl::PatchProjectionImpl(int64_t in_channels, int64_t embed_dim, int64_t patch_size,
                                         const at::TensorOptions& tensor_options) {
  set_place({to_string(SiteKind::Patch)});
  weight = register_parameter("weight", at::empty({embed_dim, in_channels, patch_size, patch_size}, tensor_options));
  bias = register_parameter("bias", at::empty({embed_dim}, tensor_options));
  const double bound = 1.0 / std::sqrt(static_cast<double>(in_channels * patch_size * patch_size));
  torch::nn::init::uniform_(weight, -bound, bound);
  torch::nn::init::uniform_(bias, -bound, bound);
}

at::Tensor PatchProjectionImpl::compute(const at::Tensor& images, const at::Tensor& w, const at::Tensor& b) const {
  TORCH_CHECK(
      images.dim() == 4 && images.size(1) == w.size(1) && images.size(2) % w.size(2) == 0 && images.size(3) % w.size(3) == 0,
      "PatchProjection: expected images [B, ", w.size(1), ", H, W] with H and W multiples of ", w.size(2), ", got ",
      images.sizes());
  return at::conv2d(images, w, b, /*stride=*/{w.size(2), w.size(3)}).flatten(2).transpose(1, 2);
}

void PatchProjectionImpl::pretty_print(std::ostream& stream) const {
  stream << "respeft::nn::PatchProjection(in_channels=" << weight.size(1) << ", embed_dim=" << weight.size(0)
         << ", patch_size=" << weight.size(2) << ")";
}

}  // namespace respeft::nn
