#include "src/models/unwrap.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

namespace respeft::models {
namespace {

/// Wrappers stand in each other a few deep.
constexpr int64_t kDeepest = 8;

bool is_wrapper(std::string_view prefix) {
  return prefix.empty() || (prefix.back() == '.' && std::count(prefix.begin(), prefix.end(), '.') <= kDeepest);
}

/// `prefix` as a wrapper and the longest of `inner` that it ends in.
std::optional<Wrapped> split(std::string_view prefix, const std::vector<std::string_view>& inner) {
  std::optional<Wrapped> best;
  for (const auto own : inner) {
    if (!prefix.ends_with(own) || (best && best->inner.size() >= own.size())) continue;
    const auto wrapper = prefix.substr(0, prefix.size() - own.size());
    if (is_wrapper(wrapper)) best = Wrapped{std::string(wrapper), std::string(own)};
  }
  return best;
}

}  // namespace

std::vector<Wrapped> find_wrapped(const TensorMap& tensors, std::string_view anchor, const std::vector<std::string_view>& inner) {
  std::vector<Wrapped> found;
  for (const auto& [key, tensor] : tensors) {
    if (!key.ends_with(anchor)) continue;
    if (auto place = split(std::string_view(key).substr(0, key.size() - anchor.size()), inner))
      found.push_back(std::move(*place));
  }
  return found;
}

const Wrapped& only(const std::vector<Wrapped>& found) {
  if (found.size() == 1) return found.front();
  const auto prefix = [&](size_t i) { return fmt::format("'{}{}'", found[i].wrapper, found[i].inner); };
  const std::string others = found.size() > 2 ? fmt::format(" and {} more", found.size() - 2) : "";
  throw std::runtime_error(fmt::format("it holds several models, under the prefixes {} and {}{}; name one (--state-dict)",
                                       prefix(0), prefix(1), others));
}

TensorMap unwrapped(TensorMap tensors, const std::string& wrapper) {
  if (wrapper.empty()) return tensors;
  TensorMap result;
  for (auto& [key, tensor] : tensors) {
    const std::string name = key.starts_with(wrapper) ? key.substr(wrapper.size()) : key;
    if (!result.emplace(name, std::move(tensor)).second) throw std::runtime_error(fmt::format("'{}': a second '{}'", key, name));
  }
  return result;
}

}  // namespace respeft::models
