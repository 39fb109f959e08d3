#include <respeft/nn/site.h>

#include <respeft/nn/adapter.h>

#include <respeft/core/text.h>

namespace respeft::nn {

const char* to_string(SiteKind kind) {
  switch (kind) {
    case SiteKind::Linear:
      return "linear";
    case SiteKind::Norm:
      return "norm";
    case SiteKind::Patch:
      return "patch";
  }
  return "unknown";
}

const std::vector<std::string>& Site::part_names() const {
  static const std::vector<std::string> single;
  return single;
}

int64_t Site::parts() const { return std::max<int64_t>(1, static_cast<int64_t>(part_names().size())); }

void Site::attach(std::shared_ptr<Adapter> adapter) {
  TORCH_CHECK(adapter, "attach: the adapter is null");
  TORCH_CHECK(!adapter_, "attach: an adapter is attached already; merge or detach it first");
  register_module("adapter", adapter);
  adapter_ = std::move(adapter);
}

std::shared_ptr<Adapter> Site::detach() {
  if (adapter_) unregister_module("adapter");
  return std::exchange(adapter_, nullptr);
}

void Site::put(const std::string& name, at::Tensor& slot, const at::Tensor& value) {
  slot = value.detach().clone();
  if (parameters_.contains(name)) {
    parameters_[name] = slot;
  } else {
    register_parameter(name, slot, /*requires_grad=*/false);
  }
}

void Site::replace_base(const at::Tensor& new_weight, const at::Tensor& new_bias) {
  TORCH_CHECK(new_weight.sizes() == weight.sizes(), "replace_base: expected a weight of shape ", weight.sizes(), ", got ",
              new_weight.sizes());
  put("weight", weight, new_weight);
  if (new_bias.defined()) put("bias", bias, new_bias);
  merged_ = true;
}

at::Tensor Site::run(const at::Tensor& x, ForwardPass& pass, PartRange range) const {
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
  if (!adapter_) return compute(x, base_weight, base_bias);
  return adapter_->forward(x, Base{*this, base_weight, base_bias, range}, pass);
}

namespace {

bool is_number(const std::string& word) { return !word.empty() && word.find_first_not_of("0123456789") == std::string::npos; }

SiteInfo describe(const std::string& name, const Site& site) {
  SiteInfo info;
  info.name = name;
  info.kind = site.kind();
  info.in_features = site.in_features();
  info.out_features = site.out_features();
  const auto path = text::split(name, '.');
  info.role = info.kind == SiteKind::Patch || path.empty() ? to_string(info.kind) : path.back();
  for (const auto& component : path) {
    if (!is_number(component)) continue;
    info.block = std::stoll(component);
    break;
  }
  info.parts = site.part_names();
  if (info.parts.empty()) info.parts = {info.role};
  return info;
}

}  // namespace

std::vector<NamedSite> find_sites(torch::nn::Module& model) {
  std::vector<NamedSite> sites;
  if (auto* site = dynamic_cast<Site*>(&model)) sites.push_back({describe("", *site), site});
  // The model itself is left out here: it may live on the stack.
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (auto* site = dynamic_cast<Site*>(item.value().get())) sites.push_back({describe(item.key(), *site), site});
  }
  return sites;
}

}  // namespace respeft::nn
