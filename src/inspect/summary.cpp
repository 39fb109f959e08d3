#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/inspect/inspect.h>
#include <respeft/nn/names.h>
#include <respeft/nn/site.h>

#include <map>

namespace respeft {
namespace {

/// The layer that a parameter belongs to; the parameter's own name if it belongs to none.
std::string layer_of(const std::string& parameter) {
  if (nn::is_adapter_name(parameter)) return nn::site_of(parameter);
  const size_t dot = parameter.rfind('.');
  const std::string last = parameter.substr(dot == std::string::npos ? 0 : dot + 1);
  return dot != std::string::npos && (last == "weight" || last == "bias") ? parameter.substr(0, dot) : parameter;
}

/// Adds one parameter to its layer's row and to the totals.
void add(ModelSummary& summary, LayerSummary& layer, const std::string& name, const at::Tensor& parameter) {
  const bool adapter = nn::is_adapter_name(name);
  if (adapter) {
    const std::string own = name.substr(nn::site_of(name).size() + nn::kAdapterMarker.size());
    layer.adapter += fmt::format("{}{} [{}]", layer.adapter.empty() ? "" : ", ", own, fmt::join(parameter.sizes(), ", "));
  } else if (layer.shape.empty()) {
    layer.shape = parameter.sizes().vec();  // the weight is registered before the bias
  }
  const int64_t count = parameter.numel();
  if (!parameter.requires_grad()) {
    layer.frozen += count;
    summary.frozen += count;
    return;
  }
  layer.trained += count;
  (adapter ? summary.trained_adapters : layer.kind == "head" ? summary.trained_head : summary.trained_base) += count;
}

}  // namespace

ModelSummary summarize(torch::nn::Module& model) {
  std::map<std::string, const char*> kinds;
  for (const auto& [info, site] : nn::find_sites(model)) kinds[info.name] = nn::to_string(info.kind);
  kinds["head"] = "head";
  ModelSummary summary;
  std::map<std::string, size_t> rows;
  for (const auto& item : model.named_parameters()) {
    const std::string name = layer_of(item.key());
    const auto [row, inserted] = rows.emplace(name, summary.layers.size());
    if (inserted) {
      const auto kind = kinds.find(name);
      summary.layers.push_back({name, kind == kinds.end() ? "tensor" : kind->second, {}, 0, 0, ""});
    }
    add(summary, summary.layers[row->second], item.key(), item.value());
  }
  return summary;
}

}  // namespace respeft
