#include <respeft/methods/reslora_merge.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <map>
#include <stdexcept>

#include "src/merging.h"
#include "src/methods/reslora_adapter.h"
#include "src/util/text.h"

namespace respeft {
namespace {

using reslora::Prediction;
using reslora::Preview;
using reslora::ResLoraAdapter;

/// Second moments of what a projection reads and takes, in float64.
struct Moments {
  at::Tensor xx;  ///< [x, 1]ᵀ[x, 1], `[in + 1, in + 1]`
  at::Tensor xt;  ///< [x, 1]ᵀ t, `[in + 1, r]`
  at::Tensor tt;  ///< tᵀ t, `[r, r]`

  void add(const at::Tensor& input, const at::Tensor& taken) {
    const auto x = input.reshape({-1, input.size(-1)}), t = taken.reshape({-1, taken.size(-1)});
    const auto with_one = at::constant_pad_nd(x, {0, 1}, 1.0);
    const auto sum = [](at::Tensor& total, const at::Tensor& product) {
      if (!total.defined()) total = at::zeros(product.sizes(), product.options().dtype(at::kDouble));
      total.add_(product);
    };
    sum(xx, with_one.t().mm(with_one));
    sum(xt, with_one.t().mm(t));
    sum(tt, t.t().mm(t));
  }

  int64_t in() const { return xx.size(0) - 1; }

  /// The Gram matrix `[r, r]` of t − [x, 1] C.
  at::Tensor residual(const at::Tensor& c) const {
    const auto cross = xt.t().mm(c);
    return tt - cross - cross.t() + c.t().mm(xx).mm(c);
  }

  /// C of the ridge regression; the intercept is not shrunk. Without any ridge the moments of a normalised input, whose
  /// features add up to the same for every token, would be singular.
  at::Tensor regress(double ridge) const {
    auto shrunk = xx.clone();
    const auto inputs = shrunk.diagonal().narrow(0, 0, in());
    inputs.add_(std::max(ridge, 1e-12) * inputs.mean().item<double>() + 1e-30);
    return at::cholesky_solve(xt, at::linalg_cholesky(shrunk));
  }
};

/// E and c of a prediction as one C `[in + 1, r]`.
at::Tensor coefficients(const Prediction& prediction) {
  const auto down = prediction.down.to(at::kDouble).t();
  const auto offset =
      prediction.offset.defined() ? prediction.offset.to(at::kDouble).unsqueeze(0) : at::zeros({1, down.size(1)}, down.options());
  return at::cat({down, offset}, 0);
}

double trace_of(const at::Tensor& up, const at::Tensor& gram) {
  return up.mm(gram).mul(up).sum().item<double>();
}

using Key = std::pair<const ResLoraAdapter*, size_t>;

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
  throw std::invalid_argument(util::unknown("merge", name, names));
}

namespace {

/// A site with an input or middle shortcut.
struct ShortcutSite {
  const nn::Site* site;
  const ResLoraAdapter* adapter;
};

/// All of them, those that fold exactly too, in the model's order.
std::vector<ShortcutSite> shortcut_sites(torch::nn::Module& model) {
  std::vector<ShortcutSite> found;
  for (const auto& [info, site] : nn::find_sites(model)) {
    const auto* adapter = dynamic_cast<const ResLoraAdapter*>(site->adapter());
    if (adapter && adapter->shortcut() != Shortcut::Block) found.push_back({site, adapter});
  }
  return found;
}

}  // namespace

bool needs_shortcut_merge(torch::nn::Module& model) {
  const auto sites = shortcut_sites(model);
  return std::any_of(sites.begin(), sites.end(), [](const ShortcutSite& site) { return !site.adapter->exact(); });
}

struct ShortcutMerger::Implementation {
  models::ImageModel& model;
  ShortcutMergerOptions options;
  std::vector<ShortcutSite> sites;
  std::map<Key, Moments> moments;

  Implementation(models::ImageModel& given, const at::Tensor& images, const ShortcutMergerOptions& wanted)
      : model(given), options(wanted), sites(shortcut_sites(given)) {
    if (!needs_shortcut_merge(model))
      throw std::invalid_argument("merge: the model has no shortcut that needs to be approximated");
    if (!images.defined() || images.size(0) == 0) throw std::invalid_argument("merge: there are no calibration images");
    auto recorder = std::make_shared<reslora::Recorder>();
    recorder->see = [this](const ResLoraAdapter& adapter, size_t projection, const at::Tensor& x, const at::Tensor& taken) {
      moments[{&adapter, projection}].add(x, taken);
    };
    run(images, [&](nn::ForwardPass& pass) { pass.put(recorder); });
  }

  /// The model's answers, in evaluation mode and without gradients, in passes that `prepare` has been given.
  template <class Prepare>
  at::Tensor run(const at::Tensor& images, const Prepare& prepare) const {
    const at::NoGradGuard no_grad;
    const bool training = model.is_training();
    model.eval();
    std::vector<at::Tensor> logits;
    for (const auto& batch : images.split(options.batch_size)) {
      nn::ForwardPass pass;
      prepare(pass);
      logits.push_back(model.forward(batch, pass));
    }
    model.train(training);
    return at::cat(logits, 0);
  }

  /// Computed when first asked for: a regression solves a system of the layer's width for every projection.
  std::shared_ptr<Preview> predictions(ShortcutMerge merge) {
    auto& preview = known[merge];
    if (!preview) preview = predict_all(merge);
    return preview;
  }

 private:
  std::map<ShortcutMerge, std::shared_ptr<Preview>> known;

  std::shared_ptr<Preview> predict_all(ShortcutMerge merge) const {
    const at::NoGradGuard no_grad;
    auto preview = std::make_shared<Preview>();
    MergedLengths lengths;
    for (const auto& [site, adapter] : sites) {
      auto& all = preview->predictions[adapter];
      if (const auto exact = adapter->exact()) {
        all = *exact;
      } else {
        for (size_t p = 0; p < adapter->pairs().size(); ++p) all.push_back(predict(merge, *adapter, p, lengths));
      }
      if (merge == ShortcutMerge::Weight && adapter->shortcut() == Shortcut::Input) lengths.add(*site, *adapter, all);
    }
    return preview;
  }

  /// ‖W*‖_F of the merged layers of a chain so far, by projection.
  struct MergedLengths {
    std::map<std::pair<const reslora::Chain*, size_t>, std::vector<double>> lengths;

    void add(const nn::Site& site, const ResLoraAdapter& adapter, const std::vector<Prediction>& predictions) {
      const auto merged = adapter.fold(site.weight, site.bias, predictions).weight;
      for (size_t p = 0; p < adapter.pairs().size(); ++p) {
        const auto& pair = *adapter.pairs()[p];
        const auto rows = merged.narrow(0, pair.first_row, pair.lora_B.size(0));
        lengths[{&adapter.chain(), p}].push_back(at::linalg_vector_norm(rows.to(at::kDouble)).item<double>());
      }
    }
    /// ‖W*_{n-2}‖ / ‖W*_{n-1}‖; 1 while there is no such layer.
    double ratio(const ResLoraAdapter& adapter, size_t projection) const {
      const auto found = lengths.find({&adapter.chain(), projection});
      const size_t n = adapter.position();
      if (found == lengths.end() || n < 2) return 1.0;
      return found->second[n - 2] / found->second[n - 1];
    }
  };

  Prediction predict(ShortcutMerge merge, const ResLoraAdapter& adapter, size_t p, const MergedLengths& lengths) const {
    const auto& a = adapter.pairs()[p]->lora_A;
    switch (merge) {
      case ShortcutMerge::Drop:
        return {at::zeros_like(a), {}};
      case ShortcutMerge::Input:
        return {a * input_ratio(adapter, p), {}};
      case ShortcutMerge::Weight:
        return {adapter.shortcut() == Shortcut::Input ? a * lengths.ratio(adapter, p) : earlier_factors(adapter, p), {}};
      case ShortcutMerge::Scalar:
        return {a * best_scalar(adapter, p), {}};
      case ShortcutMerge::Regression: {
        const auto c = found(adapter, p).regress(options.ridge);
        return {c.narrow(0, 0, c.size(0) - 1).t().to(a.scalar_type()).contiguous(), c[-1].to(a.scalar_type())};
      }
    }
    throw std::logic_error("unknown merge of a shortcut");
  }

  const ResLoraAdapter& layer(const ResLoraAdapter& adapter, size_t position) const {
    for (const auto& site : sites) {
      if (&site.adapter->chain() == &adapter.chain() && site.adapter->position() == position) return *site.adapter;
    }
    throw std::invalid_argument(fmt::format("merge: {} takes from a layer that has no adapter any more", adapter.site_name()));
  }

  /// A length that training recorded.
  static double recorded(double length, const ResLoraAdapter& adapter) {
    if (length > 0.0) return length;
    throw std::invalid_argument(fmt::format(
        "merge: 'input' and 'weight' need the lengths that training records, and {} has none; choose regression or scalar",
        adapter.site_name()));
  }

  /// is: f_{n-1} / f_n of inputs (Eq. 9); ms: Σ_k f_{n-k} / f_n of middles (Eq. 12).
  double input_ratio(const ResLoraAdapter& adapter, size_t p) const {
    const size_t n = adapter.position();
    if (adapter.shortcut() == Shortcut::Input) {
      const auto& before = layer(adapter, n - 1);
      return recorded(before.input_length(p), before) / recorded(adapter.input_length(p), adapter);
    }
    double sum = 0.0;
    for (size_t k = adapter.reach(); k < n; ++k) sum += recorded(layer(adapter, k).middle_length(p), adapter);
    return sum / recorded(adapter.middle_length(p), adapter);
  }

  /// ms: Σ_k (f_{n-k} / f_n) A_{n-k} with the lengths of inputs (Eq. 13).
  at::Tensor earlier_factors(const ResLoraAdapter& adapter, size_t p) const {
    auto sum = at::zeros_like(adapter.pairs()[p]->lora_A);
    for (size_t k = adapter.reach(); k < adapter.position(); ++k) {
      sum += adapter.pair(k, p).lora_A *
             (recorded(layer(adapter, k).input_length(p), adapter) / recorded(adapter.input_length(p), adapter));
    }
    return sum;
  }

  double best_scalar(const ResLoraAdapter& adapter, size_t p) const {
    const auto& m = found(adapter, p);
    const auto own = coefficients({adapter.pairs()[p]->lora_A, {}});
    const double length = own.mul(m.xx.mm(own)).sum().item<double>();
    return length > 0.0 ? own.mul(m.xt).sum().item<double>() / length : 0.0;
  }

 public:
  const Moments& found(const ResLoraAdapter& adapter, size_t p) const {
    const auto moment = moments.find({&adapter, p});
    if (moment == moments.end())
      throw std::invalid_argument(fmt::format("merge: {} was not called by the model", adapter.site_name()));
    return moment->second;
  }
};

ShortcutMerger::ShortcutMerger(models::ImageModel& model, const at::Tensor& images, const ShortcutMergerOptions& options)
    : implementation_(std::make_unique<Implementation>(model, images, options)) {}
ShortcutMerger::~ShortcutMerger() = default;

std::vector<ShortcutMerger::SiteError> ShortcutMerger::errors(ShortcutMerge merge) const {
  const at::NoGradGuard no_grad;
  const auto preview = implementation_->predictions(merge);
  std::vector<SiteError> all;
  for (const auto& [site, adapter] : implementation_->sites) {
    SiteError error{adapter->site_name(), adapter->exact().has_value(), 0.0};
    double off = 0.0, whole = 0.0;
    for (size_t p = 0; p < adapter->pairs().size() && !error.exact; ++p) {
      const auto& moments = implementation_->found(*adapter, p);
      const auto up = adapter->pairs()[p]->lora_B.to(at::kDouble);
      off += trace_of(up, moments.residual(coefficients(preview->predictions.at(adapter)[p])));
      whole += trace_of(up, moments.residual(coefficients({-adapter->pairs()[p]->lora_A, {}})));  // t − (−x Aᵀ)
    }
    if (whole > 0.0) error.error = std::sqrt(std::max(off, 0.0) / whole);
    all.push_back(error);
  }
  return all;
}

at::Tensor ShortcutMerger::preview(ShortcutMerge merge, const at::Tensor& images) const {
  const auto predictions = implementation_->predictions(merge);
  return implementation_->run(images, [&](nn::ForwardPass& pass) { pass.put(predictions); });
}

at::Tensor ShortcutMerger::base(const at::Tensor& images) const {
  const at::NoGradGuard no_grad;
  auto nothing = std::make_shared<Preview>();
  for (const auto& [site, adapter] : implementation_->sites) {
    for (const auto& pair : adapter->pairs()) nothing->predictions[adapter].push_back({-pair->lora_A, {}});
  }
  return implementation_->run(images, [&](nn::ForwardPass& pass) { pass.put(nothing); });
}

MergeReport ShortcutMerger::merge(ShortcutMerge merge) const {
  const auto preview = implementation_->predictions(merge);
  return merge_with(implementation_->model, [&](const nn::Site& site) {
    const auto* adapter = dynamic_cast<const ResLoraAdapter*>(site.adapter());
    const auto chosen = adapter ? preview->predictions.find(adapter) : preview->predictions.end();
    if (chosen == preview->predictions.end()) return site.adapter()->fold(site.weight, site.bias);
    return adapter->fold(site.weight, site.bias, chosen->second);
  });
}

}  // namespace respeft
