#include <respeft/merge/merge.h>
#include <respeft/methods/method.h>
#include <respeft/nn/adapter.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "src/merge/merge_with.h"

namespace respeft {
namespace {

double length(const at::Tensor& tensor) {
  return at::linalg_vector_norm(tensor.to(at::kDouble)).item<double>();
}

/// ‖after − before‖ / ‖before‖; ‖after‖ when there was nothing before.
double relative_change(const at::Tensor& before, const at::Tensor& after) {
  if (!after.defined()) return 0.0;
  if (!before.defined()) return length(after);
  const double size = length(before);
  const double change = length(after.to(at::kDouble) - before.to(at::kDouble));
  return size > 0.0 ? change / size : change;
}

}  // namespace

bool MergeReport::exact() const {
  return std::all_of(sites.begin(), sites.end(), [](const MergedSite& site) { return site.exact; });
}

bool has_adapters(torch::nn::Module& model) {
  const auto sites = nn::find_sites(model);
  return std::any_of(sites.begin(), sites.end(), [](const nn::NamedSite& named) { return named.site->adapter() != nullptr; });
}

std::string unmergeable_site(torch::nn::Module& model) {
  for (const auto& [info, site] : nn::find_sites(model)) {
    if (site->adapter() && !nn::has_weight(info.kind)) return info.name;
  }
  return "";
}

MergeReport merge_with(torch::nn::Module& model, const std::function<std::optional<nn::Fold>(const nn::WeightSite&)>& fold) {
  if (!has_adapters(model)) throw std::invalid_argument("merge: the model has no adapters; it is plain already");
  if (const auto site = unmergeable_site(model); !site.empty()) {
    throw std::invalid_argument(
        fmt::format("merge: the adapter at '{}' does not fold into any weight: deploy the model with the adapter", site));
  }
  const at::NoGradGuard no_grad;
  MergeReport report;
  std::vector<std::pair<nn::WeightSite*, nn::Fold>> folds;
  for (const auto& named : nn::find_sites(model)) {
    auto* layer = named.layer();
    if (!layer || !layer->adapter()) continue;
    auto folded = fold(*layer);
    if (!folded) {
      throw std::invalid_argument(
          fmt::format("{}: a plain layer cannot compute what its shortcut reads; choose an approximate merge (input, weight, "
                      "scalar, regression or drop)",
                      named.info.name));
    }
    report.sites.push_back({named.info.name, folded->exact, folded->bias.defined() && !layer->bias.defined(),
                            relative_change(layer->weight, folded->weight), relative_change(layer->bias, folded->bias)});
    folds.emplace_back(layer, std::move(*folded));
  }
  detach(model);
  for (const auto& [layer, folded] : folds) layer->replace_base(folded.weight, folded.bias);
  return report;
}

MergeReport merge(torch::nn::Module& model) {
  return merge_with(model, [](const nn::WeightSite& layer) { return layer.adapter()->fold(layer.weight, layer.bias); });
}

Comparison compare_logits(const at::Tensor& first, const at::Tensor& second, const at::Tensor& labels) {
  TORCH_CHECK(first.dim() == 2 && first.sizes() == second.sizes(), "compare_logits: expected two [N, classes] of one shape, got ",
              first.sizes(), " and ", second.sizes());
  Comparison comparison;
  comparison.images = first.size(0);
  if (first.numel() == 0) return comparison;
  const auto a = first.to(at::kDouble), b = second.to(at::kDouble);
  comparison.max_difference = (a - b).abs().max().item<double>();
  comparison.relative_difference = comparison.max_difference / std::max(a.abs().max().item<double>(), 1e-30);
  const auto share = [](const at::Tensor& hits) { return hits.to(at::kDouble).mean().item<double>(); };
  comparison.agreement = share(a.argmax(1) == b.argmax(1));
  if (labels.defined()) {
    comparison.accuracy_first = share(a.argmax(1) == labels);
    comparison.accuracy_second = share(b.argmax(1) == labels);
  }
  return comparison;
}

}  // namespace respeft
