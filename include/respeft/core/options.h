#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>

namespace respeft {

/// A setting's value in files and on the command line.
using OptionValue = std::variant<bool, int64_t, double, std::string>;
/// Named settings, e.g. `{{"rank", 8}, {"residual", true}}`.
using Options = std::map<std::string, OptionValue>;

/// `"true"`, `"8"`, `"0.1"`, `"q,v"`.
std::string to_string(const OptionValue& value);

}  // namespace respeft
