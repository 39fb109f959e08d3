#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <respeft/runs/config.h>

/// The types of values that a configuration's fields have: how each is read, checked and written.
namespace respeft::runs::values {

using Rgb = std::array<double, 3>;

/// Reads a value from text. Throws `std::invalid_argument` without the field's name.
void parse(const FieldInfo& info, const std::string& text, std::string& value);
void parse(const FieldInfo& info, const std::string& text, bool& value);
void parse(const FieldInfo& info, const std::string& text, int64_t& value);
void parse(const FieldInfo& info, const std::string& text, double& value);
void parse(const FieldInfo& info, const std::string& text, Rgb& value);

/// Checks a value against the field's range or choices. Throws `std::invalid_argument` without the field's name.
void check(const FieldInfo& info, const std::string& value);
void check(const FieldInfo& info, bool value);
void check(const FieldInfo& info, int64_t value);
void check(const FieldInfo& info, double value);
void check(const FieldInfo& info, const Rgb& value);

/// As `parse` reads it.
std::string to_text(const std::string& value);
std::string to_text(bool value);
std::string to_text(int64_t value);
std::string to_text(double value);
std::string to_text(const Rgb& value);

/// As TOML reads it.
std::string to_toml(const std::string& value);
std::string to_toml(bool value);
std::string to_toml(int64_t value);
std::string to_toml(double value);
std::string to_toml(const Rgb& value);
std::string option_to_toml(const OptionValue& value);

/// Every field's name, in order.
std::vector<std::string> field_names();

}  // namespace respeft::runs::values
