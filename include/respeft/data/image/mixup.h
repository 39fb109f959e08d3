#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <random>

namespace respeft::data {

struct MixupOptions {
  double mixup_alpha = 0.0;   ///< of Mixup's Beta(alpha, alpha); 0: no Mixup
  double cutmix_alpha = 0.0;  ///< of CutMix's Beta(alpha, alpha); 0: no CutMix
  double prob = 1.0;          ///< of mixing a batch at all
  double switch_prob = 0.5;   ///< of CutMix where both are on
  bool correct_lam = true;    ///< CutMix's share is that of the pixels kept, after the box is cut at the image's border
};

/// How one batch is mixed with itself in reverse order.
struct Mix {
  /// The region that CutMix takes from the other image: rows `top` … `bottom` - 1, columns `left` … `right` - 1.
  struct Box {
    int64_t top, bottom, left, right;
  };
  double lam = 1.0;        ///< share of an example's own label (and with Mixup of its own values); 1: nothing is mixed
  std::optional<Box> box;  ///< with CutMix
};

/// Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) as timm 1.0 defines them, with one draw for a whole batch (timm's mode
/// `batch`, its default; the modes `pair`, `elem` and `half` are not here, nor `cutmix_minmax`).
class Mixup {
 public:
  /// Throws `std::invalid_argument` on a negative alpha, on none above 0, or a probability outside 0 … 1.
  explicit Mixup(const MixupOptions& options);

  /// For a batch of images of `height` × `width`; a pure function of its arguments.
  Mix draw(int64_t height, int64_t width, std::mt19937_64& generator) const;

 private:
  MixupOptions options_;
};

/// The box that CutMix cuts for `lam`, around row `y` and column `x` of an image of `height` × `width`.
Mix::Box cutmix_box(int64_t height, int64_t width, double lam, int64_t y, int64_t x);

/// Mixes `inputs [B, …]` (with CutMix `[B, C, H, W]`) in place with themselves in reverse order. With an odd B, where timm
/// refuses, the middle one is its own partner.
void mix(at::Tensor& inputs, const Mix& how);

/// Target probabilities, float32 `[B, classes]`: `lam` of each example's own smoothed label, the rest of its partner's.
/// `labels` is int64 `[B]`; `smoothing` is the share spread evenly over all classes.
at::Tensor mixed_targets(const at::Tensor& labels, int64_t classes, double lam, double smoothing);

}  // namespace respeft::data
