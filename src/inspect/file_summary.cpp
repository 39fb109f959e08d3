#include <respeft/inspect/file_summary.h>

#include <c10/core/ScalarType.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/adapters/peft.h>

#include "src/formats/json.h"

namespace respeft {
namespace {

using nlohmann::json;

/// A metadata value that holds JSON, as `options` and `preprocessing` do, as JSON; any other, and one nested too deeply, as text.
json value_json(const std::string& value) {
  try {
    auto parsed = formats::parse_json(value);
    if (parsed.is_structured()) return parsed;
  } catch (const std::runtime_error&) {
  }
  return value;
}

/// The file that `given` is or, for an adapter in PEFT's layout, holds; with the latter's configuration.
std::pair<std::string, json> files_of(const std::string& given) {
  if (!adapters::is_peft_adapter(given)) return {given, nullptr};
  const adapters::PeftFiles files = adapters::peft_files(given);
  auto config = formats::read_json(files.config);
  if (!config.is_object()) throw std::runtime_error(files.config + ": not a JSON object");
  return {files.tensors, config};
}

bool is_empty(const json& value) {
  return value.is_null() || (value.is_structured() && value.empty());
}

std::string compact(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string document(const FileSummary& summary, const formats::Metadata& metadata, const json& config) {
  json tensors = json::array();
  for (const auto& [key, entry] : summary.tensors) {
    tensors.push_back({{"name", key}, {"dtype", std::string(c10::getDtypeNames(entry.dtype).first)}, {"shape", entry.shape}});
  }
  auto values = json::object();
  for (const auto& [key, value] : metadata) values[key] = value_json(value);
  json all = {{"file", summary.path},
              {"format", summary.format},
              {"metadata", values},
              {"tensors", tensors},
              {"numbers", summary.numbers}};
  if (!config.is_null()) all["adapter_config"] = config;
  return all.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

FileSummary summarize_file(const std::string& given, const std::string& state_dict) {
  const auto [path, config] = files_of(given);
  const auto file = formats::open_tensor_file(path, state_dict);
  FileSummary summary{.path = path, .format = file->format()};
  for (const auto& [key, value] : config.items()) {
    if (!is_empty(value)) summary.entries.emplace_back(key, compact(value));
  }
  for (const auto& [key, value] : file->metadata()) summary.entries.emplace_back(key, value);
  for (const auto& [key, entry] : file->entries()) {
    summary.tensors.emplace_back(key, entry);
    int64_t numbers = 1;
    for (const int64_t size : entry.shape) numbers *= size;
    summary.numbers += numbers;
  }
  for (const auto& one : file->files()) summary.bytes += static_cast<int64_t>(std::filesystem::file_size(one));
  summary.json = document(summary, file->metadata(), config);
  return summary;
}

}  // namespace respeft
