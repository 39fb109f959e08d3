#pragma once

#include <string>
#include <string_view>

// The words in a state dict's keys that say whom a tensor belongs to. They are spelled here alone.
namespace respeft::nn {

/// Separates a site's name from the name of its adapter's tensor: `blocks.3.attn.qkv.adapter.scale_in`.
inline constexpr std::string_view kAdapterMarker = ".adapter.";

/// Prefix of the head's parameter names (`head.weight`). The head is trained together with the adapters.
inline constexpr std::string_view kHeadPrefix = "head.";
/// Names of the parameters of a head that is one linear layer.
inline constexpr char kHeadWeight[] = "head.weight", kHeadBias[] = "head.bias";

/// True for a parameter or buffer of an adapter.
inline bool is_adapter_name(std::string_view name) {
  return name.find(kAdapterMarker) != std::string_view::npos;
}

/// True for a parameter of the head.
inline bool is_head_name(std::string_view name) {
  return name.starts_with(kHeadPrefix);
}

/// The site whose adapter owns the tensor `name`; empty if it belongs to no adapter.
inline std::string site_of(std::string_view name) {
  const size_t at = name.find(kAdapterMarker);
  return std::string(at == std::string_view::npos ? std::string_view() : name.substr(0, at));
}

/// The key of an adapter's tensor `tensor` at site `site`.
inline std::string adapter_key(std::string_view site, std::string_view tensor) {
  return std::string(site) + std::string(kAdapterMarker) + std::string(tensor);
}

}  // namespace respeft::nn
