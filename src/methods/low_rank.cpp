#include "src/methods/low_rank.h"

#include <respeft/ops/shortcut.h>

#include <ATen/ATen.h>
#include <torch/nn/init.h>

#include <cmath>

namespace respeft::methods {

LowRankPair::LowRankPair(int64_t first, int64_t count, int64_t in_features, int64_t rank, bool allocated,
                         const at::TensorOptions& options)
    : RowUpdate(first, count) {
  lora_A = register_parameter("lora_A", at::empty({rank, in_features}, options));
  if (!allocated) {
    lora_B = register_parameter("lora_B", at::zeros({count, rank}, options));
    torch::nn::init::kaiming_uniform_(lora_A, std::sqrt(5.0));
    return;
  }
  lora_E = register_parameter("lora_E", at::zeros({rank, 1}, options));
  lora_B = register_parameter("lora_B", at::empty({count, rank}, options));
  for (const auto& factor : {lora_A, lora_B}) torch::nn::init::normal_(factor, 0.0, 0.02);
}

LowRankAdapter::LowRankAdapter(const nn::SiteInfo& info, const nn::WeightSite& site, const std::vector<int64_t>& chosen,
                               bool whole, const LowRankOptions& options)
    : ProjectionAdapter(info, chosen, whole,
                        [&](int64_t first, int64_t rows) {
                          return std::make_shared<LowRankPair>(first, rows, info.in_features, options.rank, options.allocated,
                                                               site.weight.options());
                        }),
      scaling_(options.alpha / static_cast<double>(options.rank)),
      dropout_(options.dropout) {}

std::optional<nn::Fold> LowRankAdapter::fold(const at::Tensor& weight, const at::Tensor& bias) const {
  auto folded = weight;
  for (const auto& pair : pairs()) folded = ops::fold_low_rank(folded, pair->down(), pair->lora_B, scaling_, {pair->first_row});
  return nn::Fold{folded, bias};
}

std::vector<int64_t> LowRankAdapter::rows(const std::vector<Asked>& asked) {
  std::vector<int64_t> starts;
  for (const auto& one : asked) starts.push_back(one.row);
  return starts;
}

std::optional<at::Tensor> LowRankAdapter::dropped(const at::Tensor& x) const {
  if (dropout_ > 0.0 && is_training()) return at::dropout(x, dropout_, true);
  return std::nullopt;
}

at::Tensor join(const std::vector<at::Tensor>& tensors, int64_t dim) {
  return tensors.size() == 1 ? tensors[0] : at::cat(tensors, dim);
}

}  // namespace respeft::methods
