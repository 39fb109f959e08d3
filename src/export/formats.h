#pragma once

#include <respeft/export.h>

namespace respeft::exporting {

ExportFormat torchscript_format();
ExportFormat timm_format();

/// The class names as a JSON list.
std::string class_names_json(const std::vector<std::string>& names);

}  // namespace respeft::exporting
