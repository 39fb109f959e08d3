#include <respeft/merge/shortcut.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include <respeft/core/text.h>
#include "src/merge/merge_with.h"
#include "src/methods/reslora_adapter.h"

namespace respeft {
namespace {

using reslora::Prediction;
using reslora::Preview;
using reslora::ResLoraAdapter;

/// Second moments of what a projection reads and takes, summed in float64.
struct Moments {
  at::Tensor xx;          ///< [x, 1]ᵀ[x, 1], `[in + 1, in + 1]`
  at::Tensor xt;          ///< [x, 1]ᵀ t, `[in + 1, r]`
  at::Tensor tt;          ///< tᵀ t, `[r, r]`
  double rounding = 0.0;  ///< of the products, relative to the largest moment

  void add(const at::Tensor& input, const at::Tensor& taken) {
    const auto dtype = at::promote_types(input.scalar_type(), at::kFloat);
    const auto x = input.reshape({-1, input.size(-1)}).to(dtype), t = taken.reshape({-1, taken.size(-1)}).to(dtype);
    const auto with_one = at::constant_pad_nd(x, {0, 1}, 1.0);
    rounding = dtype == at::kDouble ? 1e-12 : 1e-6;
    const auto sum = [](at::Tensor& total, const at::Tensor& product) {
      if (!total.defined()) total = at::zeros(product.sizes(), product.options().dtype(at::kDouble));
      total.add_(product);
    };
    sum(xx, with_one.t().mm(with_one));
    sum(xt, with_one.t().mm(t));
    sum(tt, t.t().mm(t));
  }

  int64_t in() const { return xx.size(0) - 1; }

  /// Those of `count` of the taken columns.
  Moments columns(int64_t first, int64_t count) const {
    return {xx, xt.narrow(1, first, count), tt.narrow(0, first, count).narrow(1, first, count), rounding};
  }

  /// The Gram matrix `[r, r]` of t − [x, 1] C.
  at::Tensor residual(const at::Tensor& c) const {
    const auto cross = xt.t().mm(c);
    return tt - cross - cross.t() + c.t().mm(xx).mm(c);
  }

  /// C of the ridge regression; the intercept is not shrunk. Without any ridge the moments of a normalized input, whose
  /// features add up to the same for every token, would be singular. Throws `c10::Error` where they are not finite.
  at::Tensor regress(double ridge) const {
    auto shrunk = xx.clone();
    const auto inputs = shrunk.diagonal().narrow(0, 0, in());
    inputs.add_(std::max(ridge, rounding) * inputs.mean().item<double>() + 1e-30);
    return at::cholesky_solve(xt, at::linalg_cholesky(shrunk));
  }

  /// The α with which α · [x, 1] `own` is nearest to t.
  double best_scalar(const at::Tensor& own) const {
    const double length = own.mul(xx.mm(own)).sum().item<double>();
    return length > 0.0 ? own.mul(xt).sum().item<double>() / length : 0.0;
  }
};

/// E and c of a prediction as one C `[in + 1, r]`.
at::Tensor coefficients(const Prediction& prediction) {
  const auto down = prediction.down.to(at::kDouble).t();
  const auto offset =
      prediction.offset.defined() ? prediction.offset.to(at::kDouble).unsqueeze(0) : at::zeros({1, down.size(1)}, down.options());
  return at::cat({down, offset}, 0);
}

/// And back, in the dtype of `like`.
Prediction prediction(const at::Tensor& c, const at::Tensor& like) {
  const int64_t in = c.size(0) - 1;
  return {c.narrow(0, 0, in).t().to(like.scalar_type()).contiguous(), c[in].to(like.scalar_type())};
}

double trace_of(const at::Tensor& up, const at::Tensor& gram) {
  return up.mm(gram).mul(up).sum().item<double>();
}

}  // namespace

const std::vector<ShortcutMerge>& shortcut_merges() {
  static const std::vector<ShortcutMerge> all = {ShortcutMerge::Drop, ShortcutMerge::Input, ShortcutMerge::Weight,
                                                 ShortcutMerge::Scalar, ShortcutMerge::Regression};
  return all;
}

std::string to_string(ShortcutMerge merge) {
  switch (merge) {
    case ShortcutMerge::Drop:
      return "drop";
    case ShortcutMerge::Input:
      return "input";
    case ShortcutMerge::Weight:
      return "weight";
    case ShortcutMerge::Scalar:
      return "scalar";
    case ShortcutMerge::Regression:
      return "regression";
  }
  throw std::logic_error("unknown merge of a shortcut");
}

ShortcutMerge shortcut_merge_from_name(const std::string& name) {
  std::vector<std::string> names;
  for (const auto merge : shortcut_merges()) {
    names.push_back(to_string(merge));
    if (names.back() == name) return merge;
  }
  throw std::invalid_argument(text::unknown("merge", name, names));
}

namespace {

/// A site with an input or middle shortcut.
struct ShortcutSite {
  const nn::WeightSite* site;
  const ResLoraAdapter* adapter;
};

/// All of them, those that fold exactly too, in the model's order.
std::vector<ShortcutSite> shortcut_sites(torch::nn::Module& model) {
  std::vector<ShortcutSite> found;
  for (const auto& named : nn::find_sites(model)) {
    const auto* adapter = dynamic_cast<const ResLoraAdapter*>(named.site->adapter());
    if (adapter && adapter->shortcut() != Shortcut::Block) found.push_back({named.layer(), adapter});
  }
  return found;
}

}  // namespace

bool needs_shortcut_merge(torch::nn::Module& model) {
  const auto sites = shortcut_sites(model);
  return std::any_of(sites.begin(), sites.end(), [](const ShortcutSite& site) { return !site.adapter->exact(); });
}

namespace {

/// The merges that look at lengths alone, those that training recorded (Input, Weight) or those of merged weights (Weight).
/// Layers are asked for in the model's order.
class ByLength {
 public:
  explicit ByLength(const std::vector<ShortcutSite>& sites) {
    for (const auto& [site, adapter] : sites) layers_[&adapter->chain()].push_back(adapter);
  }

  /// is: E = α A_n, α = f_{n-1} / f_n of inputs (Eq. 9); ms: α = Σ_k f_{n-k} / f_n of middles (Eq. 12).
  at::Tensor input(const ResLoraAdapter& adapter, size_t p) const {
    const size_t n = adapter.position();
    double alpha = 0.0;
    if (adapter.shortcut() == Shortcut::Input) {
      alpha = ratio(&ResLoraAdapter::input_length, layer(adapter, n - 1), adapter, p);
    } else {
      for (size_t k = adapter.reach(); k < n; ++k) alpha += ratio(&ResLoraAdapter::middle_length, layer(adapter, k), adapter, p);
    }
    return adapter.pairs()[p]->down() * alpha;
  }

  /// is: E = α A_n, α = ‖W*_{n-2}‖ / ‖W*_{n-1}‖ of merged weights, and 1 while there are not two (Eq. 10 and 11);
  /// ms: E = Σ_k (f_{n-k} / f_n) A_{n-k} with the lengths of inputs (Eq. 13).
  at::Tensor weight(const ResLoraAdapter& adapter, size_t p) const {
    if (adapter.shortcut() == Shortcut::Input) {
      const auto found = merged_.find({&adapter.chain(), p});
      const bool two = found != merged_.end() && found->second.size() >= 2;
      return adapter.pairs()[p]->down() * (two ? found->second.end()[-2] / found->second.back() : 1.0);
    }
    auto sum = at::zeros_like(adapter.pairs()[p]->lora_A);
    for (size_t k = adapter.reach(); k < adapter.position(); ++k) {
      sum += adapter.pair(k, p).down() * ratio(&ResLoraAdapter::input_length, layer(adapter, k), adapter, p);
    }
    return sum;
  }

  /// Notes how long a layer's weights are once merged by `weight`.
  void merged_by_weight(const ShortcutSite& at, const std::vector<Prediction>& predictions) {
    if (at.adapter->shortcut() != Shortcut::Input) return;
    const auto folded = at.adapter->fold(at.site->weight, at.site->bias, predictions).weight;
    for (size_t p = 0; p < at.adapter->pairs().size(); ++p) {
      const auto& pair = *at.adapter->pairs()[p];
      const auto rows = folded.narrow(0, pair.first_row, pair.rows);
      merged_[{&at.adapter->chain(), p}].push_back(at::linalg_vector_norm(rows.to(at::kDouble)).item<double>());
    }
  }

 private:
  const ResLoraAdapter& layer(const ResLoraAdapter& adapter, size_t position) const {
    return *layers_.at(&adapter.chain()).at(position);
  }

  /// The length that training recorded of an earlier layer, by this one's; 0 where this one has no length, as its A is zero.
  static double ratio(double (ResLoraAdapter::*length)(size_t) const, const ResLoraAdapter& earlier,
                      const ResLoraAdapter& adapter, size_t p) {
    for (const auto* one : {&earlier, &adapter}) {
      if (one->has_lengths(p)) continue;
      throw std::invalid_argument(fmt::format(
          "merge: 'input' and 'weight' need the lengths that training records, and {} has none; choose regression or scalar",
          one->site_name()));
    }
    const double own = (adapter.*length)(p);
    return own > 0.0 ? (earlier.*length)(p) / own : 0.0;
  }

  std::map<const reslora::Chain*, std::vector<const ResLoraAdapter*>> layers_;
  std::map<std::pair<const reslora::Chain*, size_t>, std::vector<double>> merged_;  ///< ‖W*‖_F by chain and projection
};

/// While it lives, every module of a model is in evaluation mode.
class Evaluating {
 public:
  explicit Evaluating(torch::nn::Module& model) : model_(model), training_(model.is_training()) {
    for (const auto& module : model.modules(/*include_self=*/false)) modes_.emplace_back(module, module->is_training());
    model.eval();
  }
  Evaluating(const Evaluating&) = delete;
  Evaluating& operator=(const Evaluating&) = delete;
  ~Evaluating() {
    model_.train(training_);
    for (const auto& [module, training] : modes_) module->train(training);  // outer ones first
  }

 private:
  torch::nn::Module& model_;
  bool training_;
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

/// What a merge puts in place of every shortcut, and how well.
struct Found {
  std::shared_ptr<Preview> preview = std::make_shared<Preview>();
  std::vector<ShortcutMerger::SiteError> errors;
  std::string missing;  ///< why it cannot be had; empty when it can
};

}  // namespace

struct ShortcutMerger::Implementation {
  torch::nn::Module& model;
  Forward forward;
  ShortcutMergerOptions options;
  std::vector<ShortcutSite> sites;
  std::map<ShortcutMerge, Found> found;
  bool merged = false;

  Implementation(torch::nn::Module& given, Forward run, const at::Tensor& inputs, const ShortcutMergerOptions& wanted)
      : model(given), forward(std::move(run)), options(wanted), sites(shortcut_sites(given)) {
    if (!needs_shortcut_merge(model))
      throw std::invalid_argument("merge: the model has no shortcut that needs to be approximated");
    if (!inputs.defined() || inputs.size(0) == 0) throw std::invalid_argument("merge: there are no calibration inputs");
    for (const auto merge : shortcut_merges()) found[merge];
    ByLength by_length(sites);
    for (auto first = sites.begin(); first != sites.end();) {
      int64_t bytes = 0;
      auto last = first;
      do bytes += moment_bytes(*last++);
      while (last != sites.end() && bytes + moment_bytes(*last) <= options.memory);
      const auto moments = record({first, last}, inputs);
      for (; first != last; ++first) settle(*first, moments, by_length);
    }
  }

  /// The model's answers, in evaluation mode and without gradients, in passes that `prepare` has been given.
  template <class Prepare>
  at::Tensor run(const at::Tensor& inputs, const Prepare& prepare) const {
    const at::NoGradGuard no_grad;
    const Evaluating evaluating(model);
    std::vector<at::Tensor> outputs;
    for (const auto& batch : inputs.split(options.batch_size)) {
      nn::ForwardPass pass;
      prepare(pass);
      outputs.push_back(forward(batch, pass));
    }
    return at::cat(outputs, 0);
  }

  const Found& get(ShortcutMerge merge) const {
    check_unmerged();
    const auto& one = found.at(merge);
    if (!one.missing.empty()) throw std::invalid_argument(one.missing);
    return one;
  }

  void check_unmerged() const {
    if (merged) throw std::invalid_argument("merge: the model has been merged already; its adapters are gone");
  }

 private:
  /// By layer and the projections that were asked for together.
  using AllMoments = std::map<const ResLoraAdapter*, std::map<std::vector<size_t>, Moments>>;

  static int64_t moment_bytes(const ShortcutSite& at) {
    if (at.adapter->exact()) return 0;
    const int64_t side = at.site->in_features() + 1;
    return side * side * static_cast<int64_t>(sizeof(double));
  }

  AllMoments record(const std::vector<ShortcutSite>& wanted, const at::Tensor& inputs) const {
    AllMoments moments;
    for (const auto& [site, adapter] : wanted) {
      if (!adapter->exact()) moments[adapter];
    }
    if (moments.empty()) return moments;
    auto recorder = std::make_shared<reslora::Recorder>();
    recorder->see = [&](const ResLoraAdapter& adapter, const std::vector<size_t>& projections, const at::Tensor& x,
                        const at::Tensor& taken) {
      const auto at = moments.find(&adapter);
      if (at != moments.end()) at->second[projections].add(x, taken);
    };
    run(inputs, [&](nn::ForwardPass& pass) { pass.put(recorder); });
    return moments;
  }

  /// Finds every merge's prediction and error for one layer.
  void settle(const ShortcutSite& at, const AllMoments& moments, ByLength& by_length) {
    const at::NoGradGuard no_grad;
    const auto& adapter = *at.adapter;
    if (const auto exact = adapter.exact()) {
      for (auto& [merge, one] : found) {
        one.preview->predictions[&adapter] = *exact;
        one.errors.push_back({adapter.site_name(), true, 0.0});
      }
      by_length.merged_by_weight(at, *exact);
      return;
    }
    const int64_t rank = adapter.rank();
    std::vector<Moments> own(adapter.pairs().size());
    for (const auto& [projections, together] : moments.at(&adapter)) {
      for (size_t i = 0; i < projections.size(); ++i) {
        own[projections[i]] = together.columns(static_cast<int64_t>(i) * rank, rank);
      }
    }
    for (const auto& one : own) {
      if (!one.xx.defined())
        throw std::invalid_argument(fmt::format("merge: {} was not called by the model", adapter.site_name()));
    }
    for (auto& [merge, one] : found) {
      if (!one.missing.empty()) continue;
      try {
        auto& all = one.preview->predictions[&adapter];
        if (merge == ShortcutMerge::Regression) {
          all = regress(adapter, moments.at(&adapter));
        } else {
          for (size_t p = 0; p < own.size(); ++p) all.push_back(predict(merge, adapter, p, own[p], by_length));
        }
        one.errors.push_back({adapter.site_name(), false, error(adapter, own, all)});
        if (merge == ShortcutMerge::Weight) by_length.merged_by_weight(at, all);
      } catch (const std::invalid_argument& reason) {
        one.missing = reason.what();
      } catch (const c10::Error& reason) {
        one.missing = fmt::format("merge: {} at {}: {}", to_string(merge), adapter.site_name(), reason.what_without_backtrace());
      }
    }
  }

  /// All projections that were asked for together share one factorization.
  std::vector<Prediction> regress(const ResLoraAdapter& adapter, const std::map<std::vector<size_t>, Moments>& moments) const {
    std::vector<Prediction> all(adapter.pairs().size());
    for (const auto& [projections, together] : moments) {
      const auto solution = together.regress(options.ridge);
      for (size_t i = 0; i < projections.size(); ++i) {
        const auto own = solution.narrow(1, static_cast<int64_t>(i) * adapter.rank(), adapter.rank());
        all[projections[i]] = prediction(own, adapter.pairs()[0]->lora_A);
      }
    }
    return all;
  }

  static Prediction predict(ShortcutMerge merge, const ResLoraAdapter& adapter, size_t p, const Moments& moments,
                            const ByLength& by_length) {
    switch (merge) {
      case ShortcutMerge::Drop:
        return {at::zeros_like(adapter.pairs()[p]->lora_A), {}};
      case ShortcutMerge::Input:
        return {by_length.input(adapter, p), {}};
      case ShortcutMerge::Weight:
        return {by_length.weight(adapter, p), {}};
      case ShortcutMerge::Scalar: {
        const auto own = adapter.pairs()[p]->down();
        return {own * moments.best_scalar(coefficients({own, {}})), {}};
      }
      case ShortcutMerge::Regression:
        break;  // all projections at once
    }
    throw std::logic_error("unknown merge of a shortcut");
  }

  static double error(const ResLoraAdapter& adapter, const std::vector<Moments>& moments, const std::vector<Prediction>& chosen) {
    double off = 0.0, whole = 0.0;
    for (size_t p = 0; p < chosen.size(); ++p) {
      const auto up = adapter.pairs()[p]->lora_B.to(at::kDouble);
      off += trace_of(up, moments[p].residual(coefficients(chosen[p])));
      whole += trace_of(up, moments[p].residual(coefficients({-adapter.pairs()[p]->down(), {}})));  // t − (−x Aᵀ)
    }
    return whole > 0.0 ? std::sqrt(std::max(off, 0.0) / whole) : 0.0;
  }
};

ShortcutMerger::ShortcutMerger(torch::nn::Module& model, Forward forward, const at::Tensor& inputs,
                               const ShortcutMergerOptions& options)
    : implementation_(std::make_unique<Implementation>(model, std::move(forward), inputs, options)) {}
ShortcutMerger::ShortcutMerger(models::Model& model, const at::Tensor& images, const ShortcutMergerOptions& options)
    : ShortcutMerger(
          model, [&model](const at::Tensor& batch, nn::ForwardPass& pass) { return model.forward(batch, pass); }, images,
          options) {}
ShortcutMerger::~ShortcutMerger() = default;

std::vector<ShortcutMerge> ShortcutMerger::merges() const {
  std::vector<ShortcutMerge> here;
  for (const auto merge : shortcut_merges()) {
    if (implementation_->found.at(merge).missing.empty()) here.push_back(merge);
  }
  return here;
}

std::vector<ShortcutMerger::SiteError> ShortcutMerger::errors(ShortcutMerge merge) const {
  return implementation_->get(merge).errors;
}

at::Tensor ShortcutMerger::preview(ShortcutMerge merge, const at::Tensor& inputs) const {
  const auto& chosen = implementation_->get(merge).preview;
  return implementation_->run(inputs, [&](nn::ForwardPass& pass) { pass.put(chosen); });
}

at::Tensor ShortcutMerger::base(const at::Tensor& inputs) const {
  implementation_->check_unmerged();
  const at::NoGradGuard no_grad;
  auto nothing = std::make_shared<Preview>();
  for (const auto& [site, adapter] : implementation_->sites) {
    for (const auto& pair : adapter->pairs()) nothing->predictions[adapter].push_back({-pair->down(), {}});
  }
  return implementation_->run(inputs, [&](nn::ForwardPass& pass) { pass.put(nothing); });
}

MergeReport ShortcutMerger::merge(ShortcutMerge merge) {
  const auto& predictions = implementation_->get(merge).preview->predictions;
  auto report = merge_with(implementation_->model, [&](const nn::WeightSite& site) -> std::optional<nn::Fold> {
    const auto* adapter = dynamic_cast<const ResLoraAdapter*>(site.adapter());
    const auto chosen = adapter ? predictions.find(adapter) : predictions.end();
    if (chosen == predictions.end()) return site.adapter()->fold(site.weight, site.bias);
    return adapter->fold(site.weight, site.bias, chosen->second);
  });
  implementation_->merged = true;
  return report;
}

}  // namespace respeft
