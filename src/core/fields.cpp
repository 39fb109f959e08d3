#include <respeft/core/fields.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>
#include <type_traits>

#include <respeft/core/text.h>
#include <respeft/core/toml.h>

namespace respeft {
namespace {

using Triple = std::array<double, 3>;
using Kind = TomlEntry::Kind;

// ---- from text

template <class Number>
Number parse_number(const std::string& text, const char* expected) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) throw std::invalid_argument(fmt::format("must be {}, not '{}'", expected, text));
  return number;
}

void parse(const FieldInfo&, const std::string& text, std::string& value) {
  value = text;
}
void parse(const FieldInfo&, const std::string& text, bool& value) {
  value = parse_bool(text);
}
void parse(const FieldInfo&, const std::string& text, int64_t& value) {
  value = parse_number<int64_t>(text, "a whole number");
}
void parse(const FieldInfo&, const std::string& text, double& value) {
  value = parse_number<double>(text, "a number");
}

void parse(const FieldInfo& info, const std::string& text, Triple& value) {
  for (const auto& [name, numbers] : info.presets) {
    if (text == name) {
      value = numbers;
      return;
    }
  }
  const auto parts = text::split(text, ',');
  if (parts.size() != value.size())
    throw std::invalid_argument(fmt::format("must be three numbers R,G,B or a name, not '{}'", text));
  for (size_t i = 0; i < value.size(); ++i) value[i] = parse_number<double>(parts[i], "three numbers R,G,B");
}

// ---- from TOML

const char* expected_toml(const std::string&) {
  return "a text in quotes";
}
const char* expected_toml(bool) {
  return "true or false";
}
const char* expected_toml(int64_t) {
  return "a whole number";
}
const char* expected_toml(double) {
  return "a number";
}
const char* expected_toml(const Triple&) {
  return "three numbers [R, G, B] or a name";
}

bool is_number(Kind kind) {
  return kind == Kind::integer || kind == Kind::number;
}

bool takes(Kind kind, const std::string&) {
  return kind == Kind::text;
}
bool takes(Kind kind, bool) {
  return kind == Kind::boolean || kind == Kind::text;
}
bool takes(Kind kind, int64_t) {
  return kind == Kind::integer;
}
bool takes(Kind kind, double) {
  return is_number(kind);
}

template <class T>
bool takes(const TomlEntry& entry, const T& value) {
  if constexpr (std::is_same_v<T, Triple>) {
    return entry.kind == Kind::text || (entry.kind == Kind::list && is_number(entry.elements) && entry.values.size() == 3);
  } else {
    return takes(entry.kind, value);
  }
}

// ---- from a typed value

bool convert(const OptionValue& value, double& number) {
  if (const auto* whole = std::get_if<int64_t>(&value)) {
    number = static_cast<double>(*whole);
    return true;
  }
  return false;
}
template <class T>
bool convert(const OptionValue&, T&) {
  return false;
}

const char* expected_value(const std::string&) {
  return "a text";
}
const char* expected_value(bool) {
  return "true or false";
}
const char* expected_value(int64_t) {
  return "a whole number";
}
const char* expected_value(double) {
  return "a number";
}
const char* expected_value(const Triple&) {
  return "three numbers R,G,B or a name";
}

template <class T>
void take(const FieldInfo& info, const OptionValue& value, T& result) {
  if constexpr (!std::is_same_v<T, Triple>) {
    if (const auto* exact = std::get_if<T>(&value)) {
      result = *exact;
      return;
    }
  }
  if (convert(value, result)) return;
  const auto* text = std::get_if<std::string>(&value);
  if (text == nullptr) throw std::invalid_argument(fmt::format("must be {}, not '{}'", expected_value(result), to_string(value)));
  parse(info, *text, result);
}

// ---- checks

void check_number(const FieldInfo& info, double value, const std::string& text) {
  const bool below = info.above_minimum ? value <= info.minimum : value < info.minimum;
  const bool above = info.below_maximum ? value >= info.maximum : value > info.maximum;
  if (std::isfinite(value) && !below && !above) return;
  std::string range = "a finite number";
  if (below) range = fmt::format("{} {}", info.above_minimum ? "above" : "at least", info.minimum);
  if (above) range = fmt::format("{} {}", info.below_maximum ? "below" : "at most", info.maximum);
  throw std::invalid_argument(fmt::format("must be {}, not {}", range, text));
}

void check_value(const FieldInfo& info, const std::string& value) {
  if (info.choices.empty() || std::find(info.choices.begin(), info.choices.end(), value) != info.choices.end()) return;
  auto named = info.choices;
  std::erase(named, "");
  const std::string meant = text::nearest(value, named);
  throw std::invalid_argument(fmt::format("must be one of {}, not '{}'{}", text::join(named, ", "), value,
                                          meant.empty() ? "" : fmt::format("; did you mean '{}'?", meant)));
}
void check_value(const FieldInfo&, bool) {}
void check_value(const FieldInfo& info, int64_t value) {
  check_number(info, static_cast<double>(value), fmt::format("{}", value));
}
void check_value(const FieldInfo& info, double value) {
  check_number(info, value, fmt::format("{}", value));
}
void check_value(const FieldInfo& info, const Triple& value) {
  for (const double number : value) check_value(info, number);
}

// ---- to text

std::string text_of(const std::string& value) {
  return value;
}
std::string text_of(bool value) {
  return value ? "true" : "false";
}
std::string text_of(int64_t value) {
  return fmt::format("{}", value);
}
std::string text_of(double value) {
  return fmt::format("{}", value);
}  // the shortest that reads back equal
std::string text_of(const Triple& value) {
  return fmt::format("{},{},{}", value[0], value[1], value[2]);
}

std::string toml_of(const std::string& value) {
  return quote_toml(value);
}
std::string toml_of(bool value) {
  return text_of(value);
}
std::string toml_of(int64_t value) {
  return text_of(value);
}
std::string toml_of(double value) {
  const std::string text = text_of(value);
  return text.find_first_of(".einf") == std::string::npos ? text + ".0" : text;
}
std::string toml_of(const Triple& value) {
  return fmt::format("[{}, {}, {}]", toml_of(value[0]), toml_of(value[1]), toml_of(value[2]));
}

/// Assigns what `read` makes of a copy of the member, once it has been checked.
template <class Read>
void replace(const Field& field, const Read& read) {
  std::visit(
      [&](auto* member) {
        auto value = *member;
        read(value);
        check_value(field.info, value);
        *member = std::move(value);
      },
      field.member);
}

/// The value that `set` gives a field that is like `field` and holds a copy of its value.
template <class Set>
OptionValue with_copy(const Field& field, const Set& set) {
  return std::visit(
      [&](const auto* member) {
        auto value = *member;
        const Field copy{field.info, &value};
        set(copy);
        return copy.value();
      },
      field.member);
}

/// Calls `action`; its `std::invalid_argument` gets the field's name.
template <class Action>
void with_name(const std::string& name, const Action& action) {
  try {
    action();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("{}: {}", name, error.what()));
  }
}

}  // namespace

bool parse_bool(const std::string& text) {
  if (text == "true" || text == "on" || text == "yes" || text == "1") return true;
  if (text == "false" || text == "off" || text == "no" || text == "0") return false;
  throw std::invalid_argument(fmt::format("must be true or false, not '{}'", text));
}

std::string quote_toml(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
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

std::string to_toml(const OptionValue& value) {
  return std::visit([](const auto& typed) { return toml_of(typed); }, value);
}

std::string Field::placeholder() const {
  if (!info.placeholder.empty()) return info.placeholder;
  const char* const names[] = {"true|false", "N", "X", "TEXT", "R,G,B"};  // in the order of Member's alternatives
  return names[member.index()];
}

std::string Field::text() const {
  return std::visit([](const auto* value) { return text_of(*value); }, member);
}

std::string Field::toml() const {
  return std::visit([](const auto* value) { return toml_of(*value); }, member);
}

OptionValue Field::value() const {
  return std::visit(
      [](const auto* value) -> OptionValue {
        if constexpr (std::is_same_v<std::decay_t<decltype(*value)>, Triple>) {
          return text_of(*value);
        } else {
          return *value;
        }
      },
      member);
}

void Field::set(const std::string& text) const {
  replace(*this, [&](auto& value) { parse(info, text, value); });
}

void Field::assign(const OptionValue& given) const {
  replace(*this, [&](auto& value) { take(info, given, value); });
}

void Field::read(const TomlEntry& entry) const {
  replace(*this, [&](auto& value) {
    if (!takes(entry, value)) throw std::invalid_argument(fmt::format("must be {}", expected_toml(value)));
    parse(info, entry.text(), value);
  });
}

OptionValue Field::parsed(const std::string& text) const {
  return with_copy(*this, [&](const Field& copy) { copy.set(text); });
}

OptionValue Field::parsed(const TomlEntry& entry) const {
  return with_copy(*this, [&](const Field& copy) { copy.read(entry); });
}

void Field::check() const {
  std::visit([&](const auto* value) { check_value(info, *value); }, member);
}

Fields& Fields::add(const Fields& part) {
  list_.insert(list_.end(), part.begin(), part.end());
  return *this;
}

std::vector<std::string> Fields::names() const {
  std::vector<std::string> names;
  for (const auto& field : list_) names.push_back(field.info.name);
  return names;
}

const Field* Fields::find(const std::string& name) const {
  const auto found = std::find_if(list_.begin(), list_.end(), [&](const Field& field) { return field.info.name == name; });
  return found == list_.end() ? nullptr : &*found;
}

const Field& Fields::at(const std::string& name, const std::string& kind) const {
  if (const auto* field = find(name)) return *field;
  throw std::invalid_argument(list_.empty() ? fmt::format("unknown {} '{}'; there are none", kind, name)
                                            : text::unknown(kind, name, names()));
}

void Fields::set(const std::string& name, const std::string& text) {
  const Field& field = at(name);
  with_name(name, [&] { field.set(text); });
}

void Fields::assign(const Options& values, const std::string& kind) {
  for (const auto& [name, value] : values) {
    const Field& field = at(name, kind);
    with_name(name, [&, &value = value] { field.assign(value); });
  }
}

void Fields::check() const {
  for (const auto& field : list_) with_name(field.info.name, [&] { field.check(); });
}

Options Fields::values() const {
  Options values;
  for (const auto& field : list_) values[field.info.name] = field.value();
  return values;
}

std::vector<std::pair<std::string, std::string>> Fields::describe() const {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const auto& field : list_) rows.emplace_back(field.info.name, field.text());
  return rows;
}

std::string Fields::toml() const {
  std::string text;
  for (const auto& field : list_) text += fmt::format("# {}\n{} = {}\n", field.info.help, field.info.name, field.toml());
  return text;
}

std::vector<Fields::Difference> Fields::differences(const Fields& other) const {
  std::vector<Difference> found;
  for (const auto& field : list_) {
    const Field& now = other.at(field.info.name);
    if (field.text() != now.text()) found.push_back({field.info, field.text(), now.text()});
  }
  return found;
}

}  // namespace respeft
