#pragma once

#include <string>
#include <string_view>

// The words that parameter names are made of, besides the model's own. No other file spells them.
namespace respeft::nn {

inline constexpr std::string_view kAdapterMarker = ".adapter.";  ///< in `<site>.adapter.<tensor>`
inline constexpr std::string_view kHeadPrefix = "head.";         ///< of the head, which is trained besides the adapters

/// True if a parameter or buffer of this name belongs to an adapter.
bool is_adapter_name(std::string_view name);
/// True if a parameter or buffer of this name belongs to the head.
bool is_head_name(std::string_view name);
/// The site of an adapter's tensor: `blocks.3.attn.qkv` of `blocks.3.attn.qkv.adapter.q.lora_A`. Empty for other names.
std::string site_of(std::string_view name);

}  // namespace respeft::nn
