#include "src/runs/config_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::runs::values {
namespace {

template <class Number>
void parse_number(const std::string& text, Number& value, const char* kind) {
  Number read{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), read);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw std::invalid_argument(fmt::format("must be {}, not '{}'", kind, text));
  value = read;
}

void check_number(const FieldInfo& info, double value, const std::string& text) {
  const bool below = info.above_minimum ? value <= info.minimum : value < info.minimum;
  if (std::isfinite(value) && !below && value <= info.maximum) return;
  std::string range = "a finite number";
  if (below) range = fmt::format("{} {}", info.above_minimum ? "above" : "at least", info.minimum);
  if (value > info.maximum) range = fmt::format("at most {}", info.maximum);
  throw std::invalid_argument(fmt::format("must be {}, not {}", range, text));
}

}  // namespace

void parse(const FieldInfo&, const std::string& text, std::string& value) {
  value = text;
}
void parse(const FieldInfo&, const std::string& text, int64_t& value) {
  parse_number(text, value, "a whole number");
}
void parse(const FieldInfo&, const std::string& text, double& value) {
  parse_number(text, value, "a number");
}

void parse(const FieldInfo&, const std::string& text, bool& value) {
  if (text != "true" && text != "false") throw std::invalid_argument(fmt::format("must be true or false, not '{}'", text));
  value = text == "true";
}

void parse(const FieldInfo& info, const std::string& text, Rgb& value) {
  for (const auto& [name, numbers] : info.presets) {
    if (text == name) {
      value = numbers;
      return;
    }
  }
  const auto parts = text::split(text, ',');
  if (parts.size() != 3) throw std::invalid_argument(fmt::format("must be three numbers R,G,B or a name, not '{}'", text));
  Rgb read{};
  for (size_t i = 0; i < 3; ++i) parse_number(parts[i], read[i], "three numbers R,G,B");
  value = read;
}

void check(const FieldInfo& info, const std::string& value) {
  if (info.choices.empty() || std::find(info.choices.begin(), info.choices.end(), value) != info.choices.end()) return;
  auto named = info.choices;
  std::erase(named, "");
  const std::string meant = text::nearest(value, named);
  throw std::invalid_argument(fmt::format("must be one of {}, not '{}'{}", text::join(named, ", "), value,
                                          meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
}

void check(const FieldInfo&, bool) {}
void check(const FieldInfo& info, int64_t value) {
  check_number(info, static_cast<double>(value), to_text(value));
}
void check(const FieldInfo& info, double value) {
  check_number(info, value, to_text(value));
}
void check(const FieldInfo& info, const Rgb& value) {
  for (const double v : value) check_number(info, v, to_text(v));
}

std::string to_text(const std::string& value) {
  return value;
}
std::string to_text(bool value) {
  return value ? "true" : "false";
}
std::string to_text(int64_t value) {
  return fmt::format("{}", value);
}
std::string to_text(double value) {
  return fmt::format("{}", value);
}  // the shortest that reads back equal
std::string to_text(const Rgb& value) {
  return fmt::format("{},{},{}", value[0], value[1], value[2]);
}

std::string to_toml(const std::string& value) {
  std::string quoted = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\u{:04X}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}
std::string to_toml(bool value) {
  return to_text(value);
}
std::string to_toml(int64_t value) {
  return to_text(value);
}

std::string to_toml(double value) {
  const std::string text = to_text(value);
  return text.find_first_of(".einf") == std::string::npos ? text + ".0" : text;
}

std::string to_toml(const Rgb& value) {
  return fmt::format("[{}, {}, {}]", to_toml(value[0]), to_toml(value[1]), to_toml(value[2]));
}

std::string option_to_toml(const OptionValue& value) {
  return std::visit([](const auto& v) { return to_toml(v); }, value);
}

std::vector<std::string> field_names() {
  std::vector<std::string> names;
  const TrainConfig defaults;
  visit_fields(defaults, [&](const FieldInfo& info, const auto&) { names.emplace_back(info.name); });
  return names;
}

}  // namespace respeft::runs::values
