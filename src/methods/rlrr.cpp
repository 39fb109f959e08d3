#include <respeft/methods/rlrr.h>
#include <respeft/ops/rescaled_linear.h>

#include <ATen/ATen.h>

#include <cmath>

#include "src/methods/affine.h"
#include "src/methods/fields.h"

namespace respeft {
namespace {

/// The rescaled linear. Where only some of the fused parts are chosen, the parameters hold only their rows.
class RlrrAdapter : public nn::Adapter {
 public:
  RlrrAdapter(const nn::SiteInfo& info, const nn::Site& site, std::vector<int64_t> chosen, const RlrrOptions& options)
      : residual_(options.residual), parts_(static_cast<int64_t>(info.parts.size())), part_features_(info.part_features()) {
    const auto tensor_options = site.weight.options();
    const auto count = static_cast<int64_t>(chosen.size());
    chosen_ = at::tensor(chosen, tensor_options.dtype(at::kLong));
    all_chosen_ = count == parts_;
    const bool train_in = options.scales != "out", train_out = options.scales != "in";
    const auto in_shape = parts_ == 1 ? std::vector<int64_t>{info.in_features} : std::vector<int64_t>{count, info.in_features};
    scale_in_ = at::ones(in_shape, tensor_options);
    scale_out_ = at::ones({count * part_features_}, tensor_options);
    start(options.init, train_in, train_out);
    if (train_in) register_parameter("scale_in", scale_in_);
    if (train_out) register_parameter("scale_out", scale_out_);
    shift_ = register_parameter("shift", at::zeros({count * part_features_}, tensor_options));
  }

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    const auto [in, out, shift] = full();
    const auto rows = [&](const at::Tensor& vector) {
      return vector.narrow(0, base.parts.begin * part_features_, base.parts.size() * part_features_);
    };
    const auto groups = in.dim() == 1 ? in : in.narrow(0, base.parts.begin, base.parts.size());
    const auto offset = rows(shift);
    return ops::rescaled_linear(x, base.weight, base.bias.defined() ? base.bias + offset : offset, groups, rows(out), residual_);
  }

  nn::Fold fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    const auto [in, out, shift] = full();
    return {ops::rescale_weight(weight, in, out, residual_), bias.defined() ? bias + shift : shift};
  }

 private:
  /// `kaiming`: U(±√(6/fan_in)) for W as `[in, 1]·[1, out]`, so s_in has fan `in` and s_out fan 1, as published.
  /// `identity`: the product added to (or standing for) one is zero (or one).
  void start(const std::string& init, bool train_in, bool train_out) {
    const at::NoGradGuard no_grad;
    if (init == "kaiming") {
      const double in_bound = std::sqrt(6.0 / static_cast<double>(scale_in_.size(-1)));
      const double out_bound = std::sqrt(6.0);
      if (train_in) scale_in_.uniform_(-in_bound, in_bound);
      if (train_out) scale_out_.uniform_(-out_bound, out_bound);
    } else if (residual_) {
      // One factor zero and the other not, or neither would ever get a gradient.
      (train_out ? scale_out_ : scale_in_).zero_();
    }
  }

  /// (scale_in, scale_out, shift) of all parts; a part that is not chosen is left as it is.
  std::tuple<at::Tensor, at::Tensor, at::Tensor> full() const {
    if (all_chosen_) return {scale_in_, scale_out_, shift_};
    const double plain = residual_ ? 0.0 : 1.0;
    const auto spread = [&](const at::Tensor& rows, double fill) {
      return at::full({parts_, rows.size(1)}, fill, rows.options()).index_copy(0, chosen_, rows);
    };
    const auto by_part = [&](const at::Tensor& vector) { return vector.view({-1, part_features_}); };
    return {spread(scale_in_, plain), spread(by_part(scale_out_), 1.0).reshape(-1), spread(by_part(shift_), 0.0).reshape(-1)};
  }

  bool residual_, all_chosen_;
  int64_t parts_, part_features_;
  at::Tensor chosen_;
  at::Tensor scale_in_, scale_out_, shift_;
};

}  // namespace

Fields RlrrOptions::fields() {
  Fields list;
  list.add({.name = "residual",
            .help = "rescale around the frozen weight, W ⊙ (1 + s_out s_inᵀ), or replace its scale, W ⊙ s_out s_inᵀ",
            .group = "Method"},
           residual);
  list.add({.name = "scales",
            .help = "which scales are trained: in, out or both; the other is all ones",
            .group = "Method",
            .choices = {"in", "out", "both"}},
           scales);
  list.add({.name = "init",
            .help = "kaiming (the published start) or identity (the adapted model starts equal to the base)",
            .group = "Method",
            .choices = {"kaiming", "identity"}},
           init);
  list.add(methods::targets_field("layers to adapt: q, k, v, o, fc1, fc2, norms, patch, linears or all"), targets);
  list.add(methods::blocks_field(), blocks);
  return list;
}

Rlrr::Rlrr(RlrrOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {
  methods::check_fields(name(), options_.fields());
}

Options Rlrr::options() const {
  return options_of(options_);
}

std::shared_ptr<nn::Adapter> Rlrr::adapt(const nn::SiteInfo& info, const nn::Site& site) {
  auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  if (info.kind == nn::SiteKind::Linear) return std::make_shared<RlrrAdapter>(info, site, std::move(chosen), options_);
  using Start = methods::AffineAdapter::Start;
  return std::make_shared<methods::AffineAdapter>(info, site, options_.init == "kaiming" ? Start::Noisy : Start::Identity);
}

}  // namespace respeft
