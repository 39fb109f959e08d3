#include <respeft/data/image/mixup.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "src/data/distributions.h"
#include "src/data/random.h"

namespace respeft::data {

Mixup::Mixup(const MixupOptions& options) : options_(options) {
  const auto require = [](bool condition, const std::string& fault) {
    if (!condition) throw std::invalid_argument("Mixup: " + fault);
  };
  const auto share = [](double value) { return value >= 0.0 && value <= 1.0; };
  require(options.mixup_alpha >= 0.0 && options.cutmix_alpha >= 0.0 && options.mixup_alpha + options.cutmix_alpha > 0.0,
          fmt::format("alphas {} and {}: must be at least 0, and one above", options.mixup_alpha, options.cutmix_alpha));
  require(share(options.prob), fmt::format("probability {}: must be in 0 … 1", options.prob));
  require(share(options.switch_prob), fmt::format("probability {} of CutMix: must be in 0 … 1", options.switch_prob));
}

Mix Mixup::draw(int64_t height, int64_t width, std::mt19937_64& generator) const {
  Mix how;
  if (data::draw_uniform(generator) >= options_.prob) return how;
  bool cut = options_.cutmix_alpha > 0.0;
  if (cut && options_.mixup_alpha > 0.0) cut = data::draw_uniform(generator) < options_.switch_prob;
  const double alpha = cut ? options_.cutmix_alpha : options_.mixup_alpha;
  how.lam = data::draw_beta(generator, alpha, alpha);
  if (!cut || how.lam == 1.0) return how;
  const auto y = static_cast<int64_t>(data::draw_below(generator, static_cast<uint64_t>(height)));
  const auto x = static_cast<int64_t>(data::draw_below(generator, static_cast<uint64_t>(width)));
  const auto box = cutmix_box(height, width, how.lam, y, x);
  how.box = box;
  if (options_.correct_lam) {
    const auto area = static_cast<double>((box.bottom - box.top) * (box.right - box.left));
    how.lam = 1.0 - area / static_cast<double>(height * width);
  }
  return how;
}

Mix::Box cutmix_box(int64_t height, int64_t width, double lam, int64_t y, int64_t x) {
  const double side = std::sqrt(1.0 - lam);
  const auto cut_height = static_cast<int64_t>(static_cast<double>(height) * side);
  const auto cut_width = static_cast<int64_t>(static_cast<double>(width) * side);
  return {std::clamp<int64_t>(y - cut_height / 2, 0, height), std::clamp<int64_t>(y + (cut_height + 1) / 2, 0, height),
          std::clamp<int64_t>(x - cut_width / 2, 0, width), std::clamp<int64_t>(x + (cut_width + 1) / 2, 0, width)};
}

void mix(at::Tensor& inputs, const Mix& how) {
  const at::NoGradGuard no_grad;
  if (how.box) {
    TORCH_CHECK_VALUE(inputs.dim() == 4, "CutMix: expected images [B, C, H, W], got ", inputs.sizes());
    const auto& box = *how.box;
    const at::Tensor region = inputs.slice(2, box.top, box.bottom).slice(3, box.left, box.right);
    region.copy_(region.flip(0));
  } else if (how.lam != 1.0) {
    const at::Tensor others = inputs.flip(0).mul_(1.0 - how.lam);
    inputs.mul_(how.lam).add_(others);
  }
}

at::Tensor mixed_targets(const at::Tensor& labels, int64_t classes, double lam, double smoothing) {
  const double elsewhere = smoothing / static_cast<double>(classes), there = 1.0 - smoothing + elsewhere;
  const at::Tensor own =
      at::full({labels.size(0), classes}, elsewhere, labels.options().dtype(at::kFloat)).scatter_(1, labels.unsqueeze(1), there);
  return own * lam + own.flip(0) * (1.0 - lam);
}

}  // namespace respeft::data
