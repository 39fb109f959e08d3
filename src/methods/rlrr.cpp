#include <respeft/methods/rlrr.h>
#include <respeft/ops/rescaled_linear.h>

#include <ATen/ATen.h>

#include <cmath>

#include "src/methods/affine.h"
#include "src/methods/fields.h"

namespace respeft {
namespace {

/// The rescaled linear. Where only some of the fused parts are chosen, the parameters hold only their rows.
class RlrrAdapter : public nn::WeightAdapter {
 public:
  RlrrAdapter(const nn::SiteInfo& info, const nn::WeightSite& site, std::vector<int64_t> chosen, const RlrrOptions& options)
      : residual_(options.residual),
        train_in_(options.scales != "out"),
        train_out_(options.scales != "in"),
        in_features_(info.in_features),
        part_features_(info.part_features()),
        parts_(static_cast<int64_t>(info.parts.size())),
        chosen_(std::move(chosen)) {
    const auto tensor_options = site.weight.options();
    auto in = at::ones(in_shape(), tensor_options), out = at::ones({rows()}, tensor_options);
    start(options.init, in, out);
    if (train_in_) scale_in_ = register_parameter("scale_in", in);
    if (train_out_) scale_out_ = register_parameter("scale_out", out);
    shift_ = register_parameter("shift", at::zeros({rows()}, tensor_options));
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

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    const auto [in, out, shift] = full();
    return nn::Fold{ops::rescale_weight(weight, in, out, residual_), bias.defined() ? bias + shift : shift};
  }

 private:
  int64_t count() const { return static_cast<int64_t>(chosen_.size()); }
  int64_t rows() const { return count() * part_features_; }
  std::vector<int64_t> in_shape() const {
    return parts_ == 1 ? std::vector<int64_t>{in_features_} : std::vector<int64_t>{count(), in_features_};
  }

  /// `kaiming`: U(±√(6/fan_in)) for W as `[in, 1]·[1, out]`, so s_in has fan `in` and s_out fan 1, as published.
  /// `identity`: the product added to (or standing for) one is zero (or one).
  void start(const std::string& init, at::Tensor& in, at::Tensor& out) const {
    const at::NoGradGuard no_grad;
    if (init == "kaiming") {
      const double in_bound = std::sqrt(6.0 / static_cast<double>(in_features_));
      const double out_bound = std::sqrt(6.0);
      if (train_in_) in.uniform_(-in_bound, in_bound);
      if (train_out_) out.uniform_(-out_bound, out_bound);
    } else if (residual_) {
      // One factor zero and the other not, or neither would ever get a gradient.
      (train_out_ ? out : in).zero_();
    }
  }

  /// (scale_in, scale_out, shift) of all parts; a part that is not chosen is left as it is. A scale that is not trained is one.
  std::tuple<at::Tensor, at::Tensor, at::Tensor> full() const {
    const auto in = train_in_ ? scale_in_ : shift_.new_ones(in_shape());
    const auto out = train_out_ ? scale_out_ : shift_.new_ones({rows()});
    if (count() == parts_) return {in, out, shift_};
    const auto by_part = [&](const at::Tensor& vector) { return vector.view({-1, part_features_}); };
    return {spread(in, residual_ ? 0.0 : 1.0), spread(by_part(out), 1.0).reshape(-1), spread(by_part(shift_), 0.0).reshape(-1)};
  }

  /// One row for each part: those of the chosen ones, and `fill` for the others.
  at::Tensor spread(const at::Tensor& chosen_rows, double fill) const {
    std::vector<at::Tensor> all(static_cast<size_t>(parts_), chosen_rows.new_full({1, chosen_rows.size(1)}, fill));
    for (size_t i = 0; i < chosen_.size(); ++i)
      all[static_cast<size_t>(chosen_[i])] = chosen_rows.narrow(0, static_cast<int64_t>(i), 1);
    return at::cat(all, 0);
  }

  bool residual_, train_in_, train_out_;
  int64_t in_features_, part_features_, parts_;
  std::vector<int64_t> chosen_;
  at::Tensor scale_in_, scale_out_, shift_;  ///< the scales are undefined where they are not trained
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
            .help = "initialization: kaiming (as published) or identity (the adapted model starts equal to the base)",
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

std::shared_ptr<nn::Adapter> Rlrr::adapt(const nn::NamedSite& named) const {
  const auto& info = named.info;
  auto chosen = targets_.select(info);
  if (chosen.empty()) return nullptr;
  if (info.kind == nn::SiteKind::Linear) return std::make_shared<RlrrAdapter>(info, *named.layer(), std::move(chosen), options_);
  using Start = methods::AffineAdapter::Start;
  return std::make_shared<methods::AffineAdapter>(info, *named.layer(),
                                                  options_.init == "kaiming" ? Start::Noisy : Start::Identity);
}

}  // namespace respeft
