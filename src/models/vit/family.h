#pragma once

#include <respeft/models/exports.h>
#include <respeft/models/vit/vit.h>

namespace respeft::models::vit {

const ExportSources& export_sources();

}  // namespace respeft::models::vit
