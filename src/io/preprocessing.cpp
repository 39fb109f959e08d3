#include <respeft/io/preprocessing.h>

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/util/text.h"

namespace respeft::io {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& fault) {
  throw std::invalid_argument("preprocessing: " + fault);
}

std::array<double, 3> channels(const json& value, const std::string& key) {
  if (!value.is_array() || value.size() != 3) fail(fmt::format("'{}' must be three numbers, is {}", key, value.dump()));
  std::array<double, 3> result{};
  for (size_t i = 0; i < 3; ++i) {
    if (!value[i].is_number()) fail(fmt::format("'{}' must be three numbers, is {}", key, value.dump()));
    result[i] = value[i].get<double>();
    if (!std::isfinite(result[i])) fail(fmt::format("'{}' must be finite, is {}", key, value.dump()));
    if (key == "std" && result[i] <= 0) fail(fmt::format("'std' must be positive, is {}", value.dump()));
  }
  return result;
}

int64_t image_size(const json& value) {
  constexpr int64_t largest = 1 << 16;
  if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > largest) {
    fail(fmt::format("'size' must be a number of pixels from 1 to {}, is {}", largest, value.dump()));
  }
  return value.get<int64_t>();
}

std::string interpolation(const json& value) {
  if (value != "bicubic" && value != "bilinear") {
    fail(fmt::format("'interpolation' must be \"bicubic\" or \"bilinear\", is {}", value.dump()));
  }
  return value.get<std::string>();
}

}  // namespace

std::string to_json(const Preprocessing& preprocessing) {
  nlohmann::ordered_json object;
  object["mean"] = preprocessing.mean;
  object["std"] = preprocessing.std;
  object["size"] = preprocessing.size;
  object["interpolation"] = preprocessing.interpolation;
  return object.dump();
}

Preprocessing preprocessing_from_json(const std::string& text) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) fail("not a JSON object");
  static const std::vector<std::string> keys = {"mean", "std", "size", "interpolation"};
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) fail(util::unknown("member", key, keys));
  }
  for (const auto& key : keys) {
    if (!object.contains(key)) fail(fmt::format("'{}' is missing", key));
  }
  return {channels(object["mean"], "mean"), channels(object["std"], "std"), image_size(object["size"]),
          interpolation(object["interpolation"])};
}

}  // namespace respeft::io
