#include "src/runs/suite_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>

#include <respeft/core/fields.h>
#include <respeft/core/toml.h>
#include <respeft/formats/file.h>

namespace respeft::runs {

std::optional<SuiteFile> read_suite_file(const std::string& path) {
  if (!std::filesystem::exists(path)) return std::nullopt;
  SuiteFile file;
  const TomlDocument document = parse_toml(formats::read_file(path), path);
  for (const auto& entry : document.entries) {
    if (entry.kind != TomlEntry::Kind::text) document.fail(entry, entry.name + ": must be a text in quotes");
    file.settings[entry.name] = entry.text();
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
  auto entries = file.settings;
  entries["benchmark"] = file.benchmark;
  entries["recipes"] = file.recipes;
  if (!file.datasets.empty()) entries["datasets"] = file.datasets;
  std::string text = "# What this suite was begun with. 'respeft suite --resume' takes it.\n";
  for (const auto& [name, value] : entries) text += fmt::format("{} = {}\n", name, quote_toml(value));
  formats::write_file(path, text);
}

}  // namespace respeft::runs
