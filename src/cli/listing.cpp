#include "src/cli/listing.h"

#include <c10/core/ScalarType.h>
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include <respeft/adapters/peft.h>
#include <respeft/data/image/dataset.h>
#include <respeft/export/export.h>
#include <respeft/formats/tensor_file.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>

#include <respeft/core/text.h>
#include "src/cli/flags.h"
#include "src/cli/help.h"
#include "src/cli/output.h"
#include "src/formats/json.h"

namespace respeft::cli {
namespace {

int64_t elements(const formats::TensorFile::Entry& entry) {
  int64_t product = 1;
  for (const int64_t size : entry.shape) product *= size;
  return product;
}

int64_t bytes_of(const formats::TensorFile& tensors) {
  int64_t sum = 0;
  for (const auto& file : tensors.files()) sum += static_cast<int64_t>(std::filesystem::file_size(file));
  return sum;
}

std::string dimensions_text(const std::vector<int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  return "[" + text::join(sizes, ", ") + "]";
}

/// A metadata value that holds JSON, as `options` and `preprocessing` do, as JSON; any other, and one nested too deeply, as text.
nlohmann::json value_json(const std::string& value) {
  try {
    auto parsed = formats::parse_json(value);
    if (parsed.is_structured()) return parsed;
  } catch (const std::runtime_error&) {
  }
  return value;
}

/// The file that `given` is or, for an adapter in PEFT's layout, holds; with the latter's configuration.
std::pair<std::string, nlohmann::json> files_of(const std::string& given) {
  if (!adapters::is_peft_adapter(given)) return {given, nullptr};
  const adapters::PeftFiles files = adapters::peft_files(given);
  auto config = formats::read_json(files.config);
  if (!config.is_object()) throw std::runtime_error(files.config + ": not a JSON object");
  return {files.tensors, config};
}

/// What an option's value says nothing with.
bool is_empty(const nlohmann::json& value) {
  return value.is_null() || (value.is_structured() && value.empty());
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

std::string describe_file(const std::string& given) {
  const auto [path, config] = files_of(given);
  const auto file = formats::open_tensor_file(path);
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [key, value] : config.items()) {
    if (!is_empty(value))
      entries.emplace_back(key, value.is_string() ? value.get<std::string>()
                                                  : value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  for (const auto& [key, value] : file->metadata()) entries.emplace_back(key, value);
  std::string text = entries.empty() ? "(no metadata)\n" : key_values(entries);
  Table table({"tensor", "type", "shape"});
  int64_t total = 0;
  for (const auto& [key, entry] : file->entries()) {
    table.add({key, std::string(c10::getDtypeNames(entry.dtype).first), dimensions_text(entry.shape)});
    total += elements(entry);
  }
  return text + "\n" + table.text() +
         fmt::format("\n{} tensors, {} numbers, {}\n", count(static_cast<int64_t>(file->entries().size())), count(total),
                     bytes(bytes_of(*file)));
}

nlohmann::json describe_file_json(const std::string& given) {
  const auto [path, config] = files_of(given);
  const auto file = formats::open_tensor_file(path);
  nlohmann::json tensors = nlohmann::json::array();
  int64_t total = 0;
  for (const auto& [key, entry] : file->entries()) {
    tensors.push_back({{"name", key}, {"dtype", std::string(c10::getDtypeNames(entry.dtype).first)}, {"shape", entry.shape}});
    total += elements(entry);
  }
  auto metadata = nlohmann::json::object();
  for (const auto& [key, value] : file->metadata()) metadata[key] = value_json(value);
  nlohmann::json document = {
      {"file", path}, {"format", file->format()}, {"metadata", metadata}, {"tensors", tensors}, {"numbers", total}};
  if (!config.is_null()) document["adapter_config"] = config;
  return document;
}

}  // namespace respeft::cli
