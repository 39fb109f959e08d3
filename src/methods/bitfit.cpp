#include <respeft/methods/bitfit.h>

#include "src/methods/affine.h"

namespace respeft {

std::shared_ptr<nn::Adapter> BitFit::adapt(const nn::NamedSite& named) const {
  const auto* layer = named.layer();
  if (!layer || !layer->bias.defined()) return nullptr;
  return std::make_shared<methods::AffineAdapter>(named.info, *layer, methods::AffineAdapter::Start::Identity,
                                                  /*with_scale=*/false);
}

}  // namespace respeft
