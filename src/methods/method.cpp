#include <respeft/methods/method.h>

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

namespace respeft {

std::vector<at::Tensor> Attachment::parameters() const {
  std::vector<at::Tensor> tensors;
  for (const auto& [name, tensor] : trained) tensors.push_back(tensor);
  return tensors;
}

int64_t Attachment::parameter_count() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : trained) count += tensor.numel();
  return count;
}

namespace {

bool starts_with_any(const std::string& name, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) { return name.rfind(prefix, 0) == 0; });
}

void place_adapters(std::vector<nn::NamedSite> sites, Method& method, const std::vector<std::string>& also_train) {
  // What is trained as it is needs no adapter.
  std::erase_if(sites, [&](const nn::NamedSite& named) { return starts_with_any(named.info.name + ".", also_train); });
  for (const auto& [info, site] : sites) {
    if (site->adapter()) throw std::invalid_argument(fmt::format("attach: '{}' has an adapter already; merge or detach it first", info.name));
  }
  method.prepare(sites);
  try {
    for (const auto& [info, site] : sites) {
      if (auto adapter = method.adapt(info, *site)) site->attach(std::move(adapter));
    }
  } catch (...) {
    for (const auto& [info, site] : sites) site->detach();
    throw;
  }
}

}  // namespace

Attachment attach(torch::nn::Module& model, Method& method, const AttachOptions& options) {
  std::vector<std::pair<std::string, at::Tensor>> base;
  for (const auto& item : model.named_parameters()) base.emplace_back(item.key(), item.value());
  const auto sites = nn::find_sites(model);
  place_adapters(sites, method, options.also_train);
  for (const auto& [info, site] : sites) site->allow_training();
  for (auto& [name, parameter] : base) {
    parameter.set_requires_grad(method.trains_base(name) || starts_with_any(name, options.also_train));
  }
  Attachment attachment{method.name(), method.options(), {}, {}, method.hook()};
  for (const auto& item : model.named_parameters()) {
    if (item.value().requires_grad()) attachment.trained.emplace_back(item.key(), item.value());
  }
  for (const auto& item : model.named_buffers()) {
    if (item.key().find(".adapter.") != std::string::npos) attachment.recorded.emplace_back(item.key(), item.value());
  }
  if (attachment.hook) {
    for (auto& named : attachment.hook->state()) attachment.recorded.push_back(std::move(named));
  }
  return attachment;
}

Attachment attach(torch::nn::Module& model, Method&& method, const AttachOptions& options) { return attach(model, method, options); }

void detach(torch::nn::Module& model) {
  for (const auto& [info, site] : nn::find_sites(model)) site->detach();
}

}  // namespace respeft
