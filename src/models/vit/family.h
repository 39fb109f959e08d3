#pragma once

#include <respeft/models/exports.h>
#include <respeft/models/vit/vit.h>

namespace respeft::models::vit {

const ExportSources& export_sources();

/// A model of this family. Throws `std::bad_cast` on another family's.
inline const VisionTransformerImpl& as_vit(const Model& model) {
  return dynamic_cast<const VisionTransformerImpl&>(model);
}

}  // namespace respeft::models::vit
