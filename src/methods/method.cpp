#include <respeft/methods/method.h>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace respeft {

std::vector<at::Tensor> Attachment::trainable_parameters() const {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : trainable_) tensors.push_back(tensor);
  return tensors;
}

int64_t Attachment::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : trainable_) count += tensor.numel();
  return count;
}

std::shared_ptr<Attachment> SiteMethod::attach(const std::vector<nn::NamedSite>& sites) const {
  for (const auto& named : sites) {
    if (auto adapter = adapt(named)) named.site->attach(std::move(adapter));
  }
  return std::make_shared<Attachment>();
}

namespace {

bool starts_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return name.starts_with(prefix); });
}

std::shared_ptr<Attachment> place_adapters(std::vector<nn::NamedSite> sites, const Method& method, const AttachOptions& options) {
  // What is trained as it is needs no adapter.
  std::erase_if(sites, [&](const nn::NamedSite& named) { return starts_with_any(named.info.name + ".", options.also_train); });
  for (const auto& [info, site] : sites) {
    if (site->adapter())
      throw std::invalid_argument(fmt::format("attach: '{}' has an adapter already; merge or detach it first", info.name));
  }
  if (options.check) method.check(sites);
  if (options.only) std::erase_if(sites, [&](const nn::NamedSite& named) { return !options.only(named.info); });
  try {
    return method.attach(sites);
  } catch (...) {
    for (const auto& [info, site] : sites) site->detach();
    throw;
  }
}

bool owns_tensors(const Attachment& attachment) {
  return !attachment.parameters().empty() || !attachment.buffers().empty();
}

}  // namespace

std::shared_ptr<Attachment> attach(torch::nn::Module& model, const Method& method, const AttachOptions& options) {
  NamedTensors base;
  for (const auto& item : model.named_parameters()) base.emplace_back(item.key(), item.value());
  const auto sites = nn::find_sites(model);
  auto attachment = place_adapters(sites, method, options);
  attachment->method_ = method.name();
  attachment->options_ = method.options();
  if (owns_tensors(*attachment)) model.register_module(attachment->kind(), attachment);
  for (const auto& named : sites) {
    if (auto* layer = named.layer()) layer->allow_training();
  }
  for (auto& [name, parameter] : base) {
    parameter.set_requires_grad(method.trains_base(name) || starts_with_any(name, options.also_train));
  }
  for (const auto& item : model.named_parameters()) {
    if (item.value().requires_grad()) attachment->trainable_.emplace_back(item.key(), item.value());
  }
  const std::string shared = attachment->kind() + ".";
  for (const auto& item : model.named_buffers()) {
    if (nn::is_adapter_name(item.key()) || item.key().starts_with(shared))
      attachment->state_.emplace_back(item.key(), item.value());
  }
  return attachment;
}

std::shared_ptr<Attachment> find_attachment(torch::nn::Module& model) {
  for (const auto& child : model.named_children()) {
    if (auto attachment = std::dynamic_pointer_cast<Attachment>(child.value())) return attachment;
  }
  return nullptr;
}

void detach(torch::nn::Module& model) {
  for (const auto& [info, site] : nn::find_sites(model)) site->detach();
  if (const auto attachment = find_attachment(model)) model.unregister_module(attachment->kind());
}

}  // namespace respeft
