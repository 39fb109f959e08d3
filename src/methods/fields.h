#pragma once

#include <respeft/core/options.h>

#include <fmt/format.h>

#include <charconv>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <respeft/core/text.h>

/// A method's options struct has one list of fields, `static void fields(Struct&, Visitor)`, that calls
/// `visitor(name, member, help)`. Defaults, flags, files and errors all come from it.
namespace respeft::methods {

template <class T>
OptionValue to_value(const T& member) {
  return member;
}

/// `value` as a T; numbers and booleans may come as text, as they do from a command line.
template <class T>
T from_value(const std::string& name, const OptionValue& value) {
  const auto wrong = [&](const char* expected) {
    return std::invalid_argument(fmt::format("option '{}': expected {}, got '{}'", name, expected, to_string(value)));
  };
  if (const auto* exact = std::get_if<T>(&value)) return *exact;
  const auto* text = std::get_if<std::string>(&value);
  if constexpr (std::is_same_v<T, double>) {
    if (const auto* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  }
  if constexpr (std::is_same_v<T, bool>) {
    if (text && (*text == "true" || *text == "on")) return true;
    if (text && (*text == "false" || *text == "off")) return false;
    throw wrong("true or false");
  } else if constexpr (std::is_arithmetic_v<T>) {
    T number{};
    if (text) {
      const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
      if (error == std::errc() && end == text->data() + text->size()) return number;
    }
    throw wrong(std::is_integral_v<T> ? "a whole number" : "a number");
  } else {
    throw wrong("text");
  }
}

template <class Struct>
Options to_options(const Struct& options) {
  Options values;
  auto copy = options;
  Struct::fields(copy, [&](const char* name, auto& member, const char*) { values[name] = to_value(member); });
  return values;
}

template <class Struct>
std::vector<OptionInfo> describe() {
  std::vector<OptionInfo> infos;
  Struct defaults;
  Struct::fields(defaults, [&](const char* name, auto& member, const char* help) { infos.push_back({name, to_value(member), help}); });
  return infos;
}

/// Throws `std::invalid_argument` on an option that the struct does not have, or a value of another type.
template <class Struct>
Struct from_options(const std::string& method, const Options& options) {
  Struct result;
  std::vector<std::string> names;
  Struct::fields(result, [&](const char* name, auto& member, const char*) {
    names.emplace_back(name);
    const auto given = options.find(name);
    if (given != options.end()) member = from_value<std::decay_t<decltype(member)>>(name, given->second);
  });
  for (const auto& [name, value] : options) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      throw std::invalid_argument(
          names.empty() ? fmt::format("method '{}' has no options, got '{}'", method, name)
                        : text::unknown(fmt::format("option of method '{}'", method), name, names));
    }
  }
  return result;
}

}  // namespace respeft::methods
