#include "src/cli/listing.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <respeft/data/image/dataset.h>
#include <respeft/export/export.h>
#include <respeft/inspect/file_summary.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>

#include <respeft/core/text.h>
#include "src/cli/flags.h"
#include "src/cli/help.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

std::string dimensions_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  return "[" + text::join(sizes, ", ") + "]";
}

std::string method_text(const methods::Entry& entry) {
  std::string text = fmt::format("  {:<12}{} (folds: {})\n", entry.name, entry.summary, entry.folds);
  for (const auto& option : entry.options) {
    const std::string value = option.text();
    const std::string left = fmt::format("{} {}", flag_name(option.info.name), value.empty() ? "\"\"" : value);
    text += fmt::format("{:12}{:<24} {}\n", "", left, wrap(option.info.help, 64, 37));
  }
  return text;
}

}  // namespace

std::string list_everything() {
  std::string text = "Models, by timm's names; other sizes, patch and image sizes in such a name work too:\n";
  Table names({"", "", ""});
  const auto list = models::list();
  for (size_t i = 0; i < list.size(); i += 3) {
    names.add({list[i], i + 1 < list.size() ? list[i + 1] : "", i + 2 < list.size() ? list[i + 2] : ""});
  }
  text += names.text(2);
  text += "\nMethods, with their options and defaults:\n";
  for (const auto& entry : methods::registry()) text += method_text(entry);
  text += "\nData, given as --data KIND:PATH:\n";
  for (const auto& kind : data::dataset_kinds()) text += fmt::format("  {:<15}{}\n", kind.name, wrap(kind.summary, 83, 17));
  text += "\nExport formats:\n";
  for (const auto& format : exporting::registry()) text += fmt::format("  {:<19}{}\n", format.name, wrap(format.summary, 79, 21));
  return text;
}

nlohmann::json list_everything_json() {
  nlohmann::json document = {{"models", models::list()}};
  for (const auto& entry : methods::registry()) {
    nlohmann::json options = nlohmann::json::array();
    for (const auto& option : entry.options) {
      nlohmann::json value;
      std::visit([&](const auto& typed) { value = typed; }, option.value());
      options.push_back({{"name", option.info.name}, {"default", value}, {"help", option.info.help}});
    }
    document["methods"].push_back(
        {{"name", entry.name}, {"summary", entry.summary}, {"folds", entry.folds}, {"options", options}});
  }
  for (const auto& kind : data::dataset_kinds()) document["data"].push_back({{"name", kind.name}, {"summary", kind.summary}});
  for (const auto& format : exporting::registry()) {
    document["formats"].push_back({{"name", format.name}, {"summary", format.summary}});
  }
  return document;
}

std::string describe_file(const std::string& path, const std::string& state_dict) {
  const FileSummary summary = summarize_file(path, state_dict);
  Table table({"tensor", "type", "shape"});
  for (const auto& [key, entry] : summary.tensors) {
    table.add({key, std::string(c10::getDtypeNames(entry.dtype).first), dimensions_text(entry.shape)});
  }
  return (summary.entries.empty() ? "(no metadata)\n" : key_values(summary.entries)) + "\n" + table.text() +
         fmt::format("\n{} tensors, {} numbers, {}\n", count(static_cast<int64_t>(summary.tensors.size())),
                     count(summary.numbers), bytes(summary.bytes));
}

nlohmann::json describe_file_json(const std::string& path, const std::string& state_dict) {
  return nlohmann::json::parse(summarize_file(path, state_dict).json);
}

}  // namespace respeft::cli
