#include "src/io/json.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace respeft::io {

nlohmann::json parse_json(const std::string& text) {
  constexpr int deepest = 32;
  const auto check = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > deepest) throw std::runtime_error("it is nested too deeply");
    return true;
  };
  return nlohmann::json::parse(text, check, /*allow_exceptions=*/false);
}

}  // namespace respeft::io
