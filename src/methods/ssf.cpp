#include <respeft/methods/ssf.h>

#include <fmt/format.h>

#include <stdexcept>

#include "src/methods/affine.h"
#include "src/methods/fields.h"

namespace respeft {

Fields SsfOptions::fields() {
  Fields list;
  list.add(methods::targets_field("layers to adapt: qkv, o, fc1, fc2, norms, patch, linears or all"), targets);
  list.add(methods::blocks_field(), blocks);
  return list;
}

Ssf::Ssf(SsfOptions options) : options_(std::move(options)), targets_(options_.targets, options_.blocks) {}

Options Ssf::options() const {
  return options_of(options_);
}

void Ssf::check(const std::vector<nn::NamedSite>& sites) const {
  targets_.check(sites);
  for (const auto& [info, site] : sites) {
    const auto chosen = targets_.select(info).size();
    if (chosen != 0 && chosen != info.parts.size()) {
      throw std::invalid_argument(
          fmt::format("ssf scales a layer's whole output: name the target '{}' instead of some of its parts", info.role));
    }
  }
}

std::shared_ptr<nn::Adapter> Ssf::adapt(const nn::NamedSite& named) const {
  if (targets_.select(named.info).empty()) return nullptr;
  return std::make_shared<methods::AffineAdapter>(named.info, *named.layer(), methods::AffineAdapter::Start::Noisy);
}

}  // namespace respeft
