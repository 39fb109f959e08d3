#pragma once

#include <respeft/models/exports.h>

namespace respeft::models::vit {

const ExportSources& export_sources();

}  // namespace respeft::models::vit
