#include <respeft/nn/names.h>

namespace respeft::nn {

bool is_adapter_name(std::string_view name) {
  return name.find(kAdapterMarker) != std::string_view::npos;
}

bool is_head_name(std::string_view name) {
  return name.starts_with(kHeadPrefix);
}

std::string site_of(std::string_view name) {
  const size_t marker = name.find(kAdapterMarker);
  return marker == std::string_view::npos ? std::string() : std::string(name.substr(0, marker));
}

}  // namespace respeft::nn
