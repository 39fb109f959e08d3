#include "src/runs/suite_file.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <filesystem>
#include <sstream>
#include <stdexcept>

#include <respeft/formats/file.h>

namespace respeft::runs {

std::optional<SuiteFile> read_suite_file(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  SuiteFile file;
  try {
    const toml::table table = toml::parse(formats::read_file(path), path);
    for (const auto& [key, node] : table) {
      const auto* text = node.as_string();
      if (text == nullptr)
        throw std::invalid_argument(
            fmt::format("{}:{}: {}: must be a text in quotes", path, node.source().begin.line, key.str()));
      file.settings[std::string(key.str())] = text->get();
    }
  } catch (const toml::parse_error& error) {
    throw std::invalid_argument(fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
  }
  for (const auto& [key, value] : {std::pair("benchmark", &file.benchmark), std::pair("recipes", &file.recipes)}) {
    const auto found = file.settings.extract(key);
    if (found.empty()) throw std::invalid_argument(fmt::format("{}: no '{}'", path, key));
    *value = found.mapped();
  }
  if (const auto found = file.settings.extract("datasets")) file.datasets = found.mapped();
  return file;
}

void write_suite_file(const std::string& path, const SuiteFile& file) {
  toml::table table{{"benchmark", file.benchmark}, {"recipes", file.recipes}};
  if (!file.datasets.empty()) table.insert("datasets", file.datasets);
  for (const auto& [name, value] : file.settings) table.insert(name, value);
  std::ostringstream text;
  text << "# What this suite was begun with. 'respeft suite --resume' takes it.\n" << table << "\n";
  formats::write_file(path, text.str());
}

}  // namespace respeft::runs
