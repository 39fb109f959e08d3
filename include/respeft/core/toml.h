#pragma once

#include <string>
#include <vector>

namespace respeft {

/// One `key = value` of a TOML document.
struct TomlEntry {
  enum class Kind { boolean, integer, number, text, list, other };

  std::string name;                 ///< the key, dashes replaced by underscores
  size_t line = 0;                  ///< from 1
  Kind kind = Kind::other;          ///< `other`: a date, or a list of lists or of mixed kinds
  Kind elements = Kind::other;      ///< the kind of a list's elements; whole numbers among others are numbers
  std::vector<std::string> values;  ///< as text: one value, or a list's elements

  /// The value as text; a list's elements have commas between them.
  std::string text() const;
};

/// A TOML document as settings: the entries of all its tables. A table only groups keys; its name has no meaning.
struct TomlDocument {
  std::string origin;              ///< the file's path, for errors
  std::vector<TomlEntry> entries;  ///< in the order of their lines

  /// Null if there is no such key.
  const TomlEntry* find(const std::string& name) const;
  /// Throws `std::invalid_argument` "ORIGIN:LINE: FAULT".
  [[noreturn]] void fail(const TomlEntry& entry, const std::string& fault) const;
};

/// Throws `std::invalid_argument` with origin and line if `text` is not TOML or contains a key twice.
TomlDocument parse_toml(const std::string& text, const std::string& origin);

}  // namespace respeft
