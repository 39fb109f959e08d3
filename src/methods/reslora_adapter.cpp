#include "src/methods/reslora_adapter.h"

#include <respeft/ops/shortcut.h>
#include <respeft/ops/shortcut_cost.h>

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace respeft::reslora {

using methods::Asked;
using methods::join;

ResLoraAdapter::ResLoraAdapter(Shortcut shortcut, const nn::SiteInfo& info, const nn::WeightSite& site,
                               const std::vector<int64_t>& chosen, bool whole, const ResLoraOptions& options,
                               std::shared_ptr<Chain> chain)
    : LowRankAdapter(info, site, chosen, whole, {options.rank, options.alpha, options.dropout, options.allocation.enabled()}),
      shortcut_(shortcut),
      name_(info.name),
      pre_num_(options.pre_num),
      chain_(std::move(chain)),
      position_(chain_->layers.size()) {
  if (options.shared_init && position_ > 0) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < pairs().size(); ++i) pairs()[i]->lora_A.copy_(chain_->layers[0][i]->lora_A);
  }
  chain_->layers.push_back(pairs());
  if (shortcut_ == Shortcut::Block) return;  // it folds exactly whatever the lengths
  const auto projections = static_cast<int64_t>(pairs().size());
  const auto on_site = at::TensorOptions().device(site.weight.device());
  input_lengths_ = register_buffer("input_lengths", at::zeros({projections, kWindow}, on_site));
  middle_lengths_ = register_buffer("middle_lengths", at::zeros({projections, kWindow}, on_site));
  recorded_ = register_buffer("recorded", at::zeros({projections}, on_site));
}

size_t ResLoraAdapter::reach() const {
  return position_ - (pre_num_ < 0 ? position_ : std::min(position_, static_cast<size_t>(pre_num_)));
}

std::optional<nn::Fold> ResLoraAdapter::fold(const at::Tensor& weight, const at::Tensor& bias) const {
  const auto predictions = exact();
  if (!predictions) return std::nullopt;
  return fold(weight, bias, *predictions);
}

nn::Fold ResLoraAdapter::fold(const at::Tensor& weight, const at::Tensor& bias,
                              const std::vector<Prediction>& predictions) const {
  nn::Fold folded{weight, bias, exact().has_value()};
  for (size_t i = 0; i < pairs().size(); ++i) {
    const auto& own = *pairs()[i];
    folded.weight = ops::fold_low_rank(folded.weight, own.down() + predictions[i].down, own.lora_B, scaling(), {own.first_row});
    if (!predictions[i].offset.defined()) continue;
    const auto dtype = at::promote_types(weight.scalar_type(), at::kFloat);
    auto shifted = folded.bias.defined() ? folded.bias.to(dtype, false, /*copy=*/true)
                                         : at::zeros({weight.size(0)}, weight.options().dtype(dtype));
    shifted.narrow(0, own.first_row, own.lora_B.size(0))
        .add_(own.lora_B.to(dtype).mv(predictions[i].offset.to(dtype)), scaling());
    folded.bias = shifted.to(weight.scalar_type());
  }
  return folded;
}

ResLoraAdapter::Carried& ResLoraAdapter::carried(nn::ForwardPass& pass, size_t projection) const {
  auto& all = pass.state<State>(chain_.get()).projections;
  all.resize(pairs().size());
  return all[projection];
}

std::optional<at::Tensor> ResLoraAdapter::taken(const std::vector<Asked>& chosen, nn::ForwardPass& pass) const {
  if (position_ == 0) return std::nullopt;
  std::vector<at::Tensor> parts;
  for (const auto& one : chosen) {
    const auto& state = carried(pass, one.index);
    TORCH_CHECK(state.position + 1 == static_cast<int64_t>(position_), "reslora: ", name_, " is layer ", position_,
                " of its chain, and the layer before it has not run in this forward pass; call a model's layers in their order, "
                "with one ForwardPass");
    if (state.sum.defined()) parts.push_back(pass.first_tokens < 0 ? state.sum : state.sum.narrow(-2, 0, pass.first_tokens));
  }
  if (parts.empty()) return std::nullopt;
  return join(parts, -1);
}

std::tuple<at::Tensor, at::Tensor> ResLoraAdapter::compute(const at::Tensor& x, const nn::Base& base,
                                                           const std::vector<Asked>& chosen, const at::Tensor& downs,
                                                           const std::optional<at::Tensor>& previous) const {
  std::vector<at::Tensor> ups;
  for (const auto& one : chosen) ups.push_back(up(position_, one));
  return ops::shortcut_linear(x, base.weight, base.optional_bias(), downs, join(ups, 0), previous, scaling(), rows(chosen),
                              dropped(x));
}

at::Tensor ResLoraAdapter::merged(const at::Tensor& x, const nn::Base& base, const std::vector<Asked>& chosen,
                                  const Preview& preview) const {
  const auto& predictions = preview.predictions.at(this);
  std::vector<at::Tensor> downs, offsets;
  bool offset = false;
  for (const auto& one : chosen) {
    const auto a = pair(position_, one.index).down();
    const auto& prediction = predictions[one.index];
    downs.push_back(a + prediction.down);
    offset = offset || prediction.offset.defined();
    offsets.push_back(prediction.offset.defined() ? prediction.offset : at::zeros({a.size(0)}, a.options()));
  }
  std::optional<at::Tensor> previous;
  if (offset) {
    auto sizes = x.sizes().vec();
    sizes.back() = -1;
    previous = join(offsets, 0).expand(sizes);
  }
  return std::get<0>(compute(x, base, chosen, join(downs, 0), previous));
}

void ResLoraAdapter::record_lengths(const at::Tensor& x, const std::vector<Asked>& chosen, const at::Tensor& middle,
                                    const std::optional<at::Tensor>& previous) {
  if (!is_training() || x.numel() == 0 || x.is_meta()) return;
  const at::NoGradGuard no_grad;
  const auto tokens = static_cast<double>(x.numel() / x.size(-1));
  const auto dtype = at::promote_types(x.scalar_type(), at::kFloat);
  const auto length = [&](const at::Tensor& tensor) {
    return at::linalg_vector_norm(tensor.detach(), 2, c10::nullopt, /*keepdim=*/false, dtype) / std::sqrt(tokens);
  };
  const auto input = length(x);
  const std::scoped_lock lock(recording_);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const auto columns = [&](const at::Tensor& all) { return all.narrow(-1, static_cast<int64_t>(i) * rank(), rank()); };
    const auto projection = static_cast<int64_t>(chosen[i].index);
    const auto slot = recorded_[projection].item<int64_t>() % kWindow;
    input_lengths_[projection][slot] = input;
    middle_lengths_[projection][slot] = length(previous ? columns(middle) - columns(*previous) : columns(middle));
    recorded_[projection] += 1;
  }
}

double ResLoraAdapter::mean_length(const at::Tensor& lengths, size_t projection) const {
  const auto row = static_cast<int64_t>(projection);
  const auto count = std::min(recorded_[row].item<int64_t>(), kWindow);
  return count == 0 ? 0.0 : lengths[row].narrow(0, 0, count).mean().item<double>();
}

namespace {

std::vector<size_t> indices(const std::vector<Asked>& chosen) {
  std::vector<size_t> all;
  for (const auto& one : chosen) all.push_back(one.index);
  return all;
}

/// A layer that takes something from the layer before it and passes something on.
class PassingAdapter : public ResLoraAdapter {
 public:
  using ResLoraAdapter::ResLoraAdapter;

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass& pass) final {
    const auto chosen = asked(base.parts);
    if (chosen.empty()) return base.compute(x);
    if (const auto* preview = pass.find<Preview>()) return merged(x, base, chosen, *preview);
    const auto previous = taken(chosen, pass);
    const auto [output, middle] = compute(x, base, chosen, join(downs(chosen), 0), previous);
    if (const auto recorder = pass.find<Recorder>(); recorder && previous) recorder->see(*this, indices(chosen), x, *previous);
    for (size_t i = 0; i < chosen.size(); ++i) {
      const auto columns = [&](const at::Tensor& all, size_t group) {
        return all.narrow(-1, static_cast<int64_t>(group) * rank(), rank());
      };
      const auto took = previous ? columns(*previous, i) : at::Tensor();
      auto& state = carried(pass, chosen[i].index);
      state.position = static_cast<int64_t>(position());
      // Beyond the middles of the projections asked for there is what `downs` adds for the next layer.
      const bool more = middle.size(-1) > static_cast<int64_t>(chosen.size()) * rank();
      if (!last()) pass_on(state, columns(middle, more ? chosen.size() + i : i), took);
    }
    record_lengths(x, chosen, middle, previous);
    return output;
  }

 protected:
  /// The rows of the thin product: this layer's, then what the next layer wants of the same input, if anything.
  virtual std::vector<at::Tensor> downs(const std::vector<Asked>& chosen) const = 0;
  /// Puts what the next layer takes into the state. `middle` is the next layer's columns, or where `downs` has none this layer's
  /// own.
  virtual void pass_on(Carried& state, const at::Tensor& middle, const at::Tensor& took) const = 0;
};

class InputAdapter : public PassingAdapter {
 public:
  using PassingAdapter::PassingAdapter;

  std::optional<std::vector<Prediction>> exact() const override {
    if (position() > 0) return std::nullopt;
    std::vector<Prediction> own;  // x_{-1} = x_0
    for (const auto& pair : pairs()) own.push_back({pair->down(), {}});
    return own;
  }

 private:
  /// One thin product gives this layer's middle and what the next layer's A makes of the same input.
  std::vector<at::Tensor> downs(const std::vector<Asked>& chosen) const override {
    std::vector<at::Tensor> all;
    for (const auto& one : chosen) {
      const auto own = pair(position(), one.index).down();
      all.push_back(position() == 0 ? own * 2.0 : own);  // x_{-1} = x_0
    }
    for (const auto& one : chosen) {
      if (!last()) all.push_back(pair(position() + 1, one.index).down());
    }
    return all;
  }
  void pass_on(Carried& state, const at::Tensor& middle, const at::Tensor& /*took*/) const override { state.sum = middle; }
};

class MiddleAdapter : public PassingAdapter {
 public:
  using PassingAdapter::PassingAdapter;

  std::optional<std::vector<Prediction>> exact() const override {
    if (reach() < position()) return std::nullopt;
    std::vector<Prediction> nothing;
    for (const auto& pair : pairs()) nothing.push_back({at::zeros_like(pair->lora_A), {}});
    return nothing;
  }

 private:
  std::vector<at::Tensor> downs(const std::vector<Asked>& chosen) const override {
    std::vector<at::Tensor> all;
    for (const auto& one : chosen) all.push_back(pair(position(), one.index).down());
    return all;
  }
  /// `middle` is the sum of this layer's own and what it took; the next layer reaches no further back than its window.
  void pass_on(Carried& state, const at::Tensor& middle, const at::Tensor& took) const override {
    if (window() == 0) return;
    state.sum = middle;
    if (window() < 0) return;
    state.own.push_back(took.defined() ? middle - took : middle);
    if (static_cast<int64_t>(state.own.size()) <= window()) return;
    state.sum = window() == 1 ? state.own.back() : middle - state.own.front();
    state.own.pop_front();
  }
};

class BlockAdapter : public ResLoraAdapter {
 public:
  using ResLoraAdapter::ResLoraAdapter;

  std::optional<std::vector<Prediction>> exact() const override { return std::vector<Prediction>(); }

  at::Tensor forward(const at::Tensor& x, const nn::Base& base, nn::ForwardPass&) override {
    const auto chosen = asked(base.parts);
    if (chosen.empty()) return base.compute(x);
    std::vector<at::Tensor> downs, ups;
    for (const auto& one : chosen) {
      const auto [down, side_by_side] = factors(one);
      downs.push_back(down), ups.push_back(side_by_side);
    }
    const auto down = join(downs, 0), joined_ups = join(ups, 0);
    const auto branch = dropped(x);
    const auto order = branch ? ops::UpdateOrder::Thin : choose(x, base, chosen, joined_ups.size(1));
    if (order == ops::UpdateOrder::Thin) {
      return std::get<0>(ops::shortcut_linear(x, base.weight, base.optional_bias(), down, joined_ups, std::nullopt, scaling(),
                                              rows(chosen), branch));
    }
    return ops::folded_linear(x, base.weight, base.optional_bias(), down, joined_ups, scaling(), rows(chosen),
                              order == ops::UpdateOrder::FoldedDense);
  }

  std::optional<nn::Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    auto folded = weight;
    for (size_t i = 0; i < pairs().size(); ++i) {
      const auto [down, side_by_side] = factors({i, 0, 0, pairs()[i]->lora_B.size(0)});
      folded = ops::fold_low_rank(folded, down, side_by_side, scaling(), {pairs()[i]->first_row});
    }
    return nn::Fold{folded, bias};
  }

 private:
  /// The A's below each other and the B's side by side of all layers that the shortcut reaches.
  std::pair<at::Tensor, at::Tensor> factors(const Asked& one) const {
    std::vector<at::Tensor> downs, ups;
    for (size_t layer = reach(); layer <= position(); ++layer) {
      downs.push_back(pair(layer, one.index).down());
      ups.push_back(up(layer, one));
    }
    return {join(downs, 0), join(ups, 1)};
  }

  ops::UpdateOrder choose(const at::Tensor& x, const nn::Base& base, const std::vector<Asked>& chosen, int64_t rank) const {
    if (reach() == position()) return ops::UpdateOrder::Thin;  // plain LoRA, computed as LoRA computes it
    // Under autocast a folded weight is rounded, update and all, while thin products keep the update's own precision.
    const auto device = x.device().type();
    if (at::autocast::is_autocast_available(device) && at::autocast::is_autocast_enabled(device)) return ops::UpdateOrder::Thin;
    const int64_t in = x.size(-1);
    return ops::choose_order({.tokens = in > 0 ? x.numel() / in : 0,
                              .in = in,
                              .out = base.weight.size(0),
                              .rank = rank,
                              .groups = static_cast<int64_t>(chosen.size()),
                              .height = chosen[0].rows},
                             at::GradMode::is_enabled());
  }
};

}  // namespace

std::shared_ptr<ResLoraAdapter> make_adapter(Shortcut shortcut, const nn::SiteInfo& info, const nn::WeightSite& site,
                                             const std::vector<int64_t>& chosen, bool whole, const ResLoraOptions& options,
                                             std::shared_ptr<Chain> chain) {
  switch (shortcut) {
    case Shortcut::Input:
      return std::make_shared<InputAdapter>(shortcut, info, site, chosen, whole, options, std::move(chain));
    case Shortcut::Block:
      return std::make_shared<BlockAdapter>(shortcut, info, site, chosen, whole, options, std::move(chain));
    case Shortcut::Middle:
      return std::make_shared<MiddleAdapter>(shortcut, info, site, chosen, whole, options, std::move(chain));
  }
  throw std::logic_error("unknown shortcut");
}

}  // namespace respeft::reslora
