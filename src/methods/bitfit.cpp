#include <respeft/methods/bitfit.h>

#include "src/methods/affine.h"

namespace respeft {

std::shared_ptr<nn::Adapter> BitFit::adapt(const nn::SiteInfo& info, const nn::Site& site) {
  if (!site.bias.defined()) return nullptr;
  return std::make_shared<methods::AffineAdapter>(info, site, methods::AffineAdapter::Start::Identity, /*with_scale=*/false);
}

}  // namespace respeft
