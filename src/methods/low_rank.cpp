#include "src/methods/low_rank.h"

#include <respeft/ops/shortcut.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <cmath>
#include <stdexcept>

namespace respeft::methods {

LowRankPair::LowRankPair(int64_t first, int64_t rows, int64_t in_features, int64_t rank, const at::TensorOptions& options)
    : first_row(first) {
  lora_A = register_parameter("lora_A", at::empty({rank, in_features}, options));
  lora_B = register_parameter("lora_B", at::zeros({rows, rank}, options));
  torch::nn::init::kaiming_uniform_(lora_A, std::sqrt(5.0));
}

LowRankAdapter::LowRankAdapter(const nn::SiteInfo& info, const nn::Site& site, const std::vector<int64_t>& chosen, bool whole,
                               int64_t rank, double alpha, double dropout)
    : scaling_(alpha / static_cast<double>(rank)), dropout_(dropout), part_features_(info.part_features()) {
  const auto add = [&](int64_t first_row, int64_t rows) {
    pairs_.push_back(std::make_shared<LowRankPair>(first_row, rows, info.in_features, rank, site.weight.options()));
    return pairs_.back();
  };
  if (whole || info.parts.size() == 1) {
    const auto pair = add(0, info.out_features);
    register_parameter("lora_A", pair->lora_A);
    register_parameter("lora_B", pair->lora_B);
    return;
  }
  for (const int64_t part : chosen) {
    register_module(info.parts[static_cast<size_t>(part)], add(part * part_features_, part_features_));
  }
}

nn::Fold LowRankAdapter::fold(const at::Tensor& weight, const at::Tensor& bias) const {
  auto folded = weight;
  for (const auto& pair : pairs_) folded = ops::fold_low_rank(folded, pair->lora_A, pair->lora_B, scaling_, {pair->first_row});
  return {folded, bias};
}

std::vector<LowRankAdapter::Asked> LowRankAdapter::asked(const nn::PartRange& range) const {
  const int64_t begin = range.begin * part_features_, end = range.end * part_features_;
  std::vector<Asked> found;
  for (size_t index = 0; index < pairs_.size(); ++index) {
    const auto& pair = *pairs_[index];
    const int64_t first = std::max(begin, pair.first_row), last = std::min(end, pair.first_row + pair.lora_B.size(0));
    if (first < last) found.push_back({index, first - begin, first - pair.first_row, last - first});
  }
  return found;
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

void check_low_rank(const std::string& method, int64_t rank, double dropout) {
  if (rank < 1) throw std::invalid_argument(fmt::format("{}: expected a rank of at least 1, got {}", method, rank));
  if (!(dropout >= 0.0 && dropout < 1.0)) {
    throw std::invalid_argument(fmt::format("{}: expected a dropout in [0, 1), got {}", method, dropout));
  }
}

}  // namespace respeft::methods
