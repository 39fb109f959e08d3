#include "src/models/state_dict.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/nn/names.h>
#include <respeft/nn/site.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/core/text.h>

#include "src/models/unwrap.h"

namespace respeft::models {
namespace {

/// Of a module without a family: its own names, perhaps behind a prefix.
OwnTensors by_own_names(const TensorMap& tensors, const TensorMap& state) {
  OwnTensors own{tensors, "own", std::nullopt};
  const bool known = std::any_of(tensors.begin(), tensors.end(), [&](const auto& item) { return state.count(item.first) != 0; });
  if (known || state.empty()) return own;
  const auto found = find_wrapped(tensors, state.begin()->first, {""});
  if (!found.empty()) own.tensors = unwrapped(tensors, only(found).wrapper);
  return own;
}

}  // namespace

OwnTensors to_own(const TensorMap& tensors, const ModelFamily* family) {
  std::vector<std::string> reasons;
  for (const auto* candidate : family ? std::vector{family} : families()) {
    if (auto own = candidate->weights().to_own(tensors)) return std::move(*own);
    reasons.push_back(candidate->weights().not_recognized());
  }
  const std::string first =
      tensors.empty() ? "it holds no tensors" : fmt::format("its first tensor is '{}'", tensors.begin()->first);
  throw std::runtime_error(fmt::format("{}: {}", fmt::join(reasons, "; "), first));
}

/// Throws `std::invalid_argument` where an adapter cannot be merged into a weight.
void refuse_unmergeable(const torch::nn::Module& module) {
  for (const auto& item : module.named_modules("", /*include_self=*/false)) {
    const auto* site = dynamic_cast<const nn::Site*>(item.value().get());
    if (!site || !site->adapter() || nn::has_weight(site->kind())) continue;
    throw std::invalid_argument(fmt::format(
        "the adapter at '{}' does not fold into any weight: deploy the model with the adapter, which TorchScript files can hold",
        item.key()));
  }
}

TensorMap plain_tensors(const torch::nn::Module& module) {
  refuse_unmergeable(module);
  TensorMap state;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (nn::is_adapter_name(name))
      throw std::invalid_argument(fmt::format("the model has adapters attached ('{}'): merge or detach them first", name));
    state.emplace(name, tensor.detach());
  };
  for (const auto& item : module.named_parameters()) add(item.key(), item.value());
  for (const auto& item : module.named_buffers()) add(item.key(), item.value());
  return state;
}

Loading::Loading(const torch::nn::Module& module, const TensorMap& tensors, std::string origin)
    : model_(dynamic_cast<const Model*>(&module)),
      state_(plain_tensors(module)),
      origin_(std::move(origin)),
      name_(model_ ? model_->name() : "the model") {
  own_ = checked([&] { return model_ ? to_own(tensors, &model_->family()) : by_own_names(tensors, state_); });
  report_.layout = own_.layout;
}

void Loading::fail(const std::string& fault) const {
  throw std::runtime_error(fmt::format("{}: {}", origin_, fault));
}

/// The result of `call`; its fault is said to be in the file.
template <class Call>
auto Loading::checked(const Call& call) const -> decltype(call()) {
  try {
    return call();
  } catch (const std::runtime_error& error) {
    fail(error.what());
  }
}

void Loading::check() {
  if (model_) report_.positions_resampled = checked([&] { return model_->family().weights().fit(*model_, own_); });
  leave_out_other_head();
  match_keys();
  for (const auto& [key, tensor] : own_.tensors) check(key, tensor);
}

LoadReport Loading::run() {
  check();
  const at::NoGradGuard no_grad;
  for (const auto& [key, tensor] : own_.tensors) state_.at(key).copy_(tensor);
  return std::move(report_);
}

bool Loading::is_head(const std::string& key) const {
  return model_ ? model_->family().weights().is_head(key) : nn::is_head_name(key);
}

/// A head for other classes, or one that reads other features, is not this model's.
void Loading::leave_out_other_head() {
  if (const auto head = own_.tensors.find(nn::kHeadWeight); model_ && head != own_.tensors.end() && head->second.dim() != 2)
    fail(fmt::format("'head.weight' has shape [{}]; a head is a matrix [classes, features]",
                     fmt::join(head->second.sizes(), ", ")));
  const int64_t own = head_classes(state_), found = head_classes(own_.tensors);
  const bool wanted = model_ ? own > 0 && own == found : own == found || own == 0 || found == 0;
  for (auto item = own_.tensors.begin(); item != own_.tensors.end();) {
    const bool remove = is_head(item->first) && !(wanted && nn::is_head_name(item->first));
    if (remove) report_.unused.push_back(item->first);
    item = remove ? own_.tensors.erase(item) : std::next(item);
  }
  for (const auto& [key, tensor] : state_) {
    if (!wanted && is_head(key)) report_.missing.push_back(key);
  }
}

void Loading::match_keys() {
  const bool head_left_out = !report_.missing.empty();
  std::vector<std::string> missing, unknown;
  for (const auto& [key, tensor] : state_) {
    if (own_.tensors.count(key) == 0 && !(is_head(key) && head_left_out)) missing.push_back(key);
  }
  for (const auto& [key, tensor] : own_.tensors) {
    if (state_.count(key) == 0) unknown.push_back(key);
  }
  if (missing.empty() && unknown.empty()) return;
  const bool with_head = !head_left_out && head_classes(state_) > 0;
  if (!model_ || !checked([&] { return model_->family().weights().may_differ(*model_, missing, unknown, with_head); })) {
    fail(mismatch(missing, unknown));
  }
  for (const auto& key : unknown) own_.tensors.erase(key);
  report_.unused.insert(report_.unused.end(), unknown.begin(), unknown.end());
  report_.missing.insert(report_.missing.end(), missing.begin(), missing.end());
}

std::string Loading::mismatch(const std::vector<std::string>& missing, const std::vector<std::string>& unknown) const {
  const auto others = [](size_t count) { return count > 1 ? fmt::format(" (and {} more)", count - 1) : std::string(); };
  std::string text;
  if (!unknown.empty()) {
    text = fmt::format("{} has no place for '{}'{}", name_, unknown.front(), others(unknown.size()));
    const std::string meant = text::nearest(unknown.front(), missing);
    if (!meant.empty()) return text + fmt::format("; did it mean '{}'?", meant);
  }
  if (!missing.empty()) {
    const std::string subject = text.empty() ? fmt::format("{} needs", name_) : text + ", and it needs";
    text = fmt::format("{} '{}'{}, which is missing", subject, missing.front(), others(missing.size()));
  }
  return text;
}

void Loading::check(const std::string& key, const at::Tensor& tensor) const {
  const auto& target = state_.at(key);
  if (tensor.sizes() != target.sizes()) {
    fail(fmt::format("'{}' has shape [{}]; {} takes [{}]", key, fmt::join(tensor.sizes(), ", "), name_,
                     fmt::join(target.sizes(), ", ")));
  }
  if (target.is_floating_point() && !tensor.is_floating_point())
    fail(fmt::format("'{}' holds {}, not floating-point numbers", key, c10::toString(tensor.scalar_type())));
}

}  // namespace respeft::models
