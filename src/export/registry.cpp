#include <respeft/export/export.h>

#include <stdexcept>

#include <respeft/core/text.h>
#include "src/export/formats.h"

namespace respeft::exporting {

const std::vector<ExportFormat>& registry() {
  static const std::vector<ExportFormat> formats = {torchscript_format(), timm_format(), timm_folder_format(),
                                                    huggingface_format(), peft_format(), peft_transformers_format()};
  return formats;
}

const ExportFormat& find(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& format : registry()) {
    if (format.name == name) return format;
    names.push_back(format.name);
  }
  throw std::invalid_argument(text::unknown("export format", name, names));
}

}  // namespace respeft::exporting
