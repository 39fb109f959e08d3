#include <respeft/data/image/preprocessing.h>

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/text.h>
#include "src/formats/json.h"

namespace respeft::data {
namespace {

using nlohmann::json;

[[noreturn]] void fail(const std::string& fault) {
  throw std::invalid_argument("preprocessing: " + fault);
}

json parse(const std::string& text) {
  try {
    return formats::parse_json(text);
  } catch (const std::runtime_error& error) {
    fail(error.what());
  }
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

int64_t pixels(const json& value, const std::string& key, int64_t smallest) {
  constexpr int64_t largest = 4096;  // a model's positions and every image take memory by its square
  if (!value.is_number_integer() || value.get<double>() < static_cast<double>(smallest) || value.get<double>() > largest) {
    fail(fmt::format("'{}' must be a number of pixels from {} to {}, is {}", key, smallest, largest, value.dump()));
  }
  return value.get<int64_t>();
}

std::string one_of(const json& value, const std::string& key, const char* first, const char* second) {
  if (value != first && value != second)
    fail(fmt::format("'{}' must be \"{}\" or \"{}\", is {}", key, first, second, value.dump()));
  return value.get<std::string>();
}

}  // namespace

Preprocessing Preprocessing::at_size(int64_t other) const {
  Preprocessing result = *this;
  result.size = other;
  if (resize_size > 0)
    result.resize_size = std::llround(static_cast<double>(resize_size) / static_cast<double>(size) * static_cast<double>(other));
  return result;
}

void check_sizes(const Preprocessing& p) {
  if (p.resize_size == 0 || p.resize_size >= p.size) return;
  throw std::invalid_argument(fmt::format(
      "resize_size: {0} pixels do not hold the {1} × {1} that are cut out; must be 0 or at least {1}", p.resize_size, p.size));
}

std::string to_json(const Preprocessing& preprocessing) {
  nlohmann::ordered_json object;
  object["mean"] = preprocessing.mean;
  object["std"] = preprocessing.std;
  object["size"] = preprocessing.size;
  object["interpolation"] = preprocessing.interpolation;
  const Preprocessing squashed;
  if (preprocessing.resize_size != squashed.resize_size || preprocessing.resize_mode != squashed.resize_mode) {
    object["resize_size"] = preprocessing.resize_size;
    object["resize_mode"] = preprocessing.resize_mode;
  }
  return object.dump();
}

Preprocessing preprocessing_from_json(const std::string& text) {
  const json object = parse(text);
  if (!object.is_object()) fail("not a JSON object");
  static const std::vector<std::string> required = {"mean", "std", "size", "interpolation"};
  static const std::vector<std::string> known = {"mean", "std", "size", "interpolation", "resize_size", "resize_mode"};
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) fail(text::unknown("member", key, known));
  }
  for (const auto& key : required) {
    if (!object.contains(key)) fail(fmt::format("'{}' is missing", key));
  }
  Preprocessing result{channels(object["mean"], "mean"), channels(object["std"], "std"), pixels(object["size"], "size", 1),
                       one_of(object["interpolation"], "interpolation", "bicubic", "bilinear")};
  if (object.contains("resize_size")) result.resize_size = pixels(object["resize_size"], "resize_size", 0);
  if (object.contains("resize_mode")) result.resize_mode = one_of(object["resize_mode"], "resize_mode", "squash", "shortest");
  try {
    check_sizes(result);
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  return result;
}

}  // namespace respeft::data
