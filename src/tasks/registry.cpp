#include <respeft/tasks/registry.h>

#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/tasks/image_classification.h>

namespace respeft::tasks {

const std::vector<Entry>& registry() {
  static const std::vector<Entry> entries = {image_classification()};
  return entries;
}

const Entry& find(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& entry : registry()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw std::invalid_argument(text::unknown("task", name, names));
}

}  // namespace respeft::tasks
