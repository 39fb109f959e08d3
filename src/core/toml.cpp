#include <respeft/core/toml.h>

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft {
namespace {

using Kind = TomlEntry::Kind;

[[noreturn]] void fail_at(const std::string& origin, size_t line, const std::string& fault) {
  throw std::invalid_argument(fmt::format("{}:{}: {}", origin, line, fault));
}

Kind kind_of(const toml::node& node) {
  if (node.is_boolean()) return Kind::boolean;
  if (node.is_integer()) return Kind::integer;
  if (node.is_floating_point()) return Kind::number;
  return node.is_string() ? Kind::text : Kind::other;
}

std::string text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  return {};
}

/// The kind that elements of both kinds have in common.
Kind common(Kind a, Kind b) {
  const auto numeric = [](Kind kind) { return kind == Kind::integer || kind == Kind::number; };
  if (a == b) return a;
  return numeric(a) && numeric(b) ? Kind::number : Kind::other;
}

void read_list(const toml::array& array, TomlEntry& entry) {
  for (const auto& element : array) {
    entry.elements = entry.values.empty() ? kind_of(element) : common(entry.elements, kind_of(element));
    entry.values.push_back(text_of(element));
  }
  entry.kind = array.empty() || entry.elements != Kind::other ? Kind::list : Kind::other;
}

void collect(const toml::table& table, std::vector<TomlEntry>& entries) {
  for (const auto& [key, node] : table) {
    if (const auto* inner = node.as_table()) {
      collect(*inner, entries);
      continue;
    }
    TomlEntry entry;
    entry.name = key.str();
    std::replace(entry.name.begin(), entry.name.end(), '-', '_');
    entry.line = node.source().begin.line;
    if (const auto* array = node.as_array()) {
      read_list(*array, entry);
    } else {
      entry.kind = kind_of(node);
      entry.values = {text_of(node)};
    }
    entries.push_back(std::move(entry));
  }
}

}  // namespace

std::string TomlEntry::text() const {
  return text::join(values, ",");
}

const TomlEntry* TomlDocument::find(const std::string& name) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const TomlEntry& entry) { return entry.name == name; });
  return found == entries.end() ? nullptr : &*found;
}

void TomlDocument::fail(const TomlEntry& entry, const std::string& fault) const {
  fail_at(origin, entry.line, fault);
}

TomlDocument parse_toml(const std::string& text, const std::string& origin) {
  TomlDocument document{origin, {}};
  try {
    collect(toml::parse(text, origin), document.entries);
  } catch (const toml::parse_error& error) {
    fail_at(origin, error.source().begin.line, std::string(error.description()));
  }
  auto& entries = document.entries;
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
  std::set<std::string> names;
  for (const auto& entry : entries) {
    if (!names.insert(entry.name).second) document.fail(entry, entry.name + " is given twice");
  }
  return document;
}

}  // namespace respeft
