#include "src/formats/json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/formats/file.h>

namespace respeft::formats {

nlohmann::json parse_json(const std::string& text) {
  constexpr int deepest = 32;
  const auto check = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > deepest) throw std::runtime_error("it is nested too deeply");
    return true;
  };
  return nlohmann::json::parse(text, check, /*allow_exceptions=*/false);
}

nlohmann::json read_json(const std::string& path) {
  const std::string text = read_file(path);
  try {
    return parse_json(text);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", path, error.what()));
  }
}

std::string to_text(const nlohmann::json& document, int indent) {
  return document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string to_text(const nlohmann::ordered_json& document, int indent) {
  return document.dump(indent, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string shown(const nlohmann::json& value) {
  const std::string text = to_text(value);
  return text.size() <= 60 ? text : fmt::format("{}…", text.substr(0, 57));
}

}  // namespace respeft::formats
