#include <respeft/nn/site.h>

#include <respeft/nn/adapter.h>

namespace respeft::nn {

const char* to_string(SiteKind kind) {
  switch (kind) {
    case SiteKind::Linear:
      return "linear";
    case SiteKind::Convolution:
      return "convolution";
    case SiteKind::Norm:
      return "norm";
    case SiteKind::Patch:
      return "patch";
    case SiteKind::Embedding:
      return "embedding";
    case SiteKind::Branch:
      return "branch";
    case SiteKind::Tokens:
      return "tokens";
  }
  return "unknown";
}

bool has_weight(SiteKind kind) {
  return kind != SiteKind::Branch && kind != SiteKind::Tokens;
}

const std::vector<std::string>& Site::part_names() const {
  static const std::vector<std::string> single;
  return single;
}

int64_t Site::parts() const {
  return std::max<int64_t>(1, static_cast<int64_t>(part_names().size()));
}

void Site::attach(std::shared_ptr<Adapter> adapter) {
  TORCH_CHECK(adapter, "attach: the adapter is null");
  TORCH_CHECK(!adapter_, "attach: an adapter is attached already; merge or detach it first");
  TORCH_CHECK(accepts(*adapter), "attach: the adapter is not one for a site of the kind ", to_string(kind()));
  register_module("adapter", adapter);
  adapter_ = std::move(adapter);
}

std::shared_ptr<Adapter> Site::detach() {
  if (adapter_) unregister_module("adapter");
  return std::exchange(adapter_, nullptr);
}

bool WeightSite::accepts(const Adapter& adapter) const {
  return dynamic_cast<const WeightAdapter*>(&adapter) != nullptr;
}

WeightAdapter* WeightSite::weight_adapter() const {
  return static_cast<WeightAdapter*>(adapter());
}

void WeightSite::put(const std::string& name, at::Tensor& slot, const at::Tensor& value) {
  slot = value.detach().clone();
  if (parameters_.contains(name)) {
    parameters_[name] = slot;
  } else {
    register_parameter(name, slot, /*requires_grad=*/false);
  }
}

void WeightSite::replace_base(const at::Tensor& new_weight, const at::Tensor& new_bias) {
  TORCH_CHECK(new_weight.sizes() == weight.sizes(), "replace_base: expected a weight of shape ", weight.sizes(), ", got ",
              new_weight.sizes());
  put("weight", weight, new_weight);
  if (new_bias.defined()) put("bias", bias, new_bias);
  merged_ = true;
}

at::Tensor WeightSite::run(const at::Tensor& x, ForwardPass& pass, PartRange range) const {
  TORCH_CHECK(!(merged_ && is_training() && at::GradMode::is_enabled()),
              "this layer's adapter has been merged: there is nothing left to train; attach a method to train on from the merged "
              "weights, or call eval() on the model");
  at::Tensor base_weight = weight;
  at::Tensor base_bias = bias;
  if (range.size() != parts()) {
    TORCH_CHECK(0 <= range.begin && range.begin < range.end && range.end <= parts(), "a linear of ", parts(),
                " parts has no parts ", range.begin, " to ", range.end);
    const int64_t rows = out_features() / parts();
    base_weight = weight.narrow(0, range.begin * rows, range.size() * rows);
    if (bias.defined()) base_bias = bias.narrow(0, range.begin * rows, range.size() * rows);
  }
  if (!adapter()) return compute(x, base_weight, base_bias);
  return weight_adapter()->forward(x, Base{*this, base_weight, base_bias, range}, pass);
}

at::Tensor WeightSite::run(const at::Tensor& x) const {
  ForwardPass pass;
  return run(x, pass);
}

namespace {

SiteInfo describe(const std::string& name, const std::string& registered, const Site& site, const at::TensorOptions& otherwise) {
  SiteInfo info;
  info.name = name;
  info.kind = site.kind();
  info.role = !site.place().role.empty() ? site.place().role : registered.empty() ? to_string(info.kind) : registered;
  info.block = site.place().block;
  info.in_features = site.in_features();
  info.out_features = site.out_features();
  info.parts = site.part_names();
  if (info.parts.empty()) info.parts = {info.role};
  const auto* layer = dynamic_cast<const WeightSite*>(&site);
  info.tensor_options = layer ? layer->weight.options().requires_grad(false) : otherwise;
  return info;
}

/// Adds the sites in `module`, which is registered as `registered` and found under the path `name`.
void collect(torch::nn::Module& module, const std::string& name, const std::string& registered,
             const at::TensorOptions& otherwise, std::vector<NamedSite>& sites) {
  if (auto* site = dynamic_cast<Site*>(&module)) sites.push_back({describe(name, registered, *site, otherwise), site});
  for (const auto& child : module.named_children()) {
    collect(*child.value(), name.empty() ? child.key() : name + "." + child.key(), child.key(), otherwise, sites);
  }
}

/// Dtype and device of the model's first parameter.
at::TensorOptions options_of(const torch::nn::Module& model) {
  const auto parameters = model.parameters();
  return parameters.empty() ? at::TensorOptions() : parameters.front().options().requires_grad(false);
}

}  // namespace

std::vector<NamedSite> find_sites(torch::nn::Module& model) {
  std::vector<NamedSite> sites;
  collect(model, "", "", options_of(model), sites);
  return sites;
}

}  // namespace respeft::nn
