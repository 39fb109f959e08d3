#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <respeft/core/options.h>

namespace respeft {

struct TomlEntry;

/// Describes one setting. Numbers are checked against the range, text against the choices.
struct FieldInfo {
  std::string name;  ///< with underscores, as in files; its flag has dashes
  std::string help;
  std::string group = "Training";  ///< heading of the flag in a command's help
  double minimum = -std::numeric_limits<double>::infinity();
  double maximum = std::numeric_limits<double>::infinity();
  bool above_minimum = false;                                               ///< the minimum itself is not allowed
  bool below_maximum = false;                                               ///< the maximum itself is not allowed
  std::vector<std::string> choices = {};                                    ///< allowed texts; empty: any
  std::vector<std::pair<std::string, std::array<double, 3>>> presets = {};  ///< named values of a setting of three numbers
  bool may_change = false;                                                  ///< may differ when a run is resumed
  bool path = false;                                                        ///< a path, or `kind:path`
  std::string placeholder = {};                                             ///< of the value in help texts; empty: by its type
};

/// A setting and the member of an options struct that holds it.
struct Field {
  using Member = std::variant<bool*, int64_t*, double*, std::string*, std::array<double, 3>*>;

  FieldInfo info;
  Member member;

  bool is_switch() const { return std::holds_alternative<bool*>(member); }
  /// Placeholder of the value in help texts: the info's, or `true|false`, `N`, `X`, `TEXT`, `R,G,B` by its type.
  std::string placeholder() const;

  /// The value in the form that `set` reads.
  std::string text() const;
  /// The value in the form that TOML reads.
  std::string toml() const;
  /// The value; three numbers are given as text.
  OptionValue value() const;

  // The functions below throw `std::invalid_argument`, without the field's name in the message, and then leave the member
  // unchanged.

  /// Sets the value from text, e.g. that of a flag.
  void set(const std::string& text) const;
  /// Sets the value from a typed value. Numbers and booleans may be given as text.
  void assign(const OptionValue& value) const;
  /// Sets the value from an entry of a file.
  void read(const TomlEntry& entry) const;
  /// Parses a value without changing the member.
  OptionValue parsed(const std::string& text) const;
  OptionValue parsed(const TomlEntry& entry) const;
  /// Checks the range or the choices.
  void check() const;
};

/// The settings of an options struct, in display order. Flags, files, tables and checks are generated from this list.
///
/// A struct lists its members once, in a member function `Fields fields()`:
///
///     Fields LoraOptions::fields() {
///       Fields list;
///       list.add({.name = "rank", .help = "rank r of every update", .minimum = 1}, rank);
///       list.add(allocation.fields());  // a member struct with its own fields
///       return list;
///     }
///
/// The list points into the struct, which must outlive it.
class Fields {
 public:
  template <class T>
  Fields& add(FieldInfo info, T& member) {
    list_.push_back({std::move(info), &member});
    return *this;
  }
  Fields& add(const Fields& part);

  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }
  size_t size() const { return list_.size(); }
  std::vector<std::string> names() const;
  /// Null if there is no such field.
  const Field* find(const std::string& name) const;
  /// Throws `std::invalid_argument` "unknown KIND 'NAME'; did you mean …".
  const Field& at(const std::string& name, const std::string& kind = "setting") const;

  /// Sets a field from text, e.g. that of a flag. Throws `std::invalid_argument` for an unknown name, or "NAME: …" for a bad
  /// value.
  void set(const std::string& name, const std::string& text);
  /// Sets fields from typed values. Throws as `set`; `kind` is used in the message for an unknown name.
  void assign(const Options& values, const std::string& kind = "setting");
  /// Throws `std::invalid_argument` "NAME: …" on the first value out of range.
  void check() const;

  /// Every value by name.
  Options values() const;
  /// Every name and value as text, in order.
  std::vector<std::pair<std::string, std::string>> describe() const;
  /// A TOML text: every field with its help as a comment above it.
  std::string toml() const;

  /// A field whose values in two structs differ.
  struct Difference {
    FieldInfo info;
    std::string before, now;
  };
  /// The fields whose values differ between this list and `other`, a list of an equal struct.
  std::vector<Difference> differences(const Fields& other) const;

 private:
  std::vector<Field> list_;
};

/// Parses `true`, `on`, `yes`, `1`, or `false`, `off`, `no`, `0`. Throws `std::invalid_argument` on anything else.
bool parse_bool(const std::string& text);

/// A TOML string with its quotes.
std::string quote_toml(const std::string& text);
/// A value in the form that TOML reads.
std::string to_toml(const OptionValue& value);

/// Every option of an options struct by name.
template <class Struct>
Options options_of(Struct options) {
  return options.fields().values();
}

}  // namespace respeft
