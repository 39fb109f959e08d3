#include <respeft/methods/lora.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/nn/init.h>

#include <cmath>
#include <stdexcept>

#include "src/methods/fields.h"

namespace respeft {
namespace {

/// One A, B pair: the update of a contiguous run of the weight's rows.
class LoraPair : public torch::nn::Module {
 public:
  LoraPair(int64_t begin, int64_t rows, int64_t in, int64_t rank, const at::TensorOptions& options) : first_row(begin) {
    lora_A = register_parameter("lora_A", at::empty({rank, in}, options));
    lora_B = register_parameter("lora_B", at::zeros({rows, rank}, options));
    torch::nn::init::kaiming_uniform_(lora_A, std::sqrt(5.0));
  }

  int64_t first_row;
  at::Tensor lora_A;  ///< `[r, in]`
  at::Tensor lora_B;  ///< `[rows, r]`
};

class LoraAdapter : public nn::Adapter {
 public:
  LoraAdapter(const nn::SiteInfo& info, const nn::Site& site, const std::vector<int64_t>& chosen, bool whole,
              const LoraOptions& options)
      : scaling_(options.alpha / static_cast<double>(options.rank)), dropout_(options.dropout), part_features_(info.part_features()) {
    const auto add = [&](int64_t begin, int64_t rows) {
      pairs_.push_back(std::make_shared<LoraPair>(begin, rows, info.in_features, options.rank, site.weight.options()));
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

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    const auto flat = x.reshape({-1, x.size(-1)});
    auto y = base.compute(flat);
    const int64_t begin = base.parts.begin * part_features_, end = begin + base.parts.size() * part_features_;
    std::vector<at::Tensor> downs, ups;
    for (const auto& pair : pairs_) {
      const int64_t first = std::max(begin, pair->first_row), last = std::min(end, pair->first_row + pair->lora_B.size(0));
      if (first >= last) continue;
      downs.push_back(pair->lora_A);
      // The pair's rows of the output, with zeros for the rows of the other parts.
      const auto up = pair->lora_B.narrow(0, first - pair->first_row, last - first);
      ups.push_back(last - first == end - begin ? up : at::constant_pad_nd(up, {0, 0, first - begin, end - last}));
    }
    auto shape = x.sizes().vec();
    shape.back() = end - begin;
    if (downs.empty()) return y.view(shape);
    const auto down = downs.size() == 1 ? downs[0] : at::cat(downs, 0);
    const auto up = ups.size() == 1 ? ups[0] : at::cat(ups, 1);
    const auto dropped = dropout_ > 0.0 && is_training() ? at::dropout(flat, dropout_, true) : flat;
    // Added into the base's output, which nothing else reads: one pass over [N, out] instead of three.
    const auto middle = at::linear(dropped, down).to(y.scalar_type());
    return y.addmm_(middle, up.t().to(y.scalar_type()), 1.0, scaling_).view(shape);
  }

  nn::Fold fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
    auto folded = weight.to(dtype, /*non_blocking=*/false, /*copy=*/true);
    for (const auto& pair : pairs_) {
      auto rows = folded.narrow(0, pair->first_row, pair->lora_B.size(0));
      rows.addmm_(pair->lora_B.to(dtype), pair->lora_A.to(dtype), 1.0, scaling_);
    }
    return {folded.to(weight.scalar_type()), bias};
  }

 private:
  double scaling_, dropout_;
  int64_t part_features_;
  std::vector<std::shared_ptr<LoraPair>> pairs_;
};

}  // namespace

Lora::Lora(LoraOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  if (options_.rank < 1) throw std::invalid_argument(fmt::format("lora: expected a rank of at least 1, got {}", options_.rank));
  if (!(options_.dropout >= 0.0 && options_.dropout < 1.0)) {
    throw std::invalid_argument(fmt::format("lora: expected a dropout in [0, 1), got {}", options_.dropout));
  }
}

Options Lora::options() const { return methods::to_options(options_); }

std::shared_ptr<nn::Adapter> Lora::adapt(const nn::SiteInfo& info, const nn::Site& site) {
  if (info.kind != nn::SiteKind::Linear) return nullptr;
  const auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  return std::make_shared<LoraAdapter>(info, site, chosen, targets_.names_whole(info), options_);
}

}  // namespace respeft
