#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace respeft::formats {

/// Parses untrusted JSON; returns a discarded value if the text is not JSON. Throws `std::runtime_error` on nesting deeper than
/// 32: copying and writing a document takes stack for every level.
nlohmann::json parse_json(const std::string& text);

/// `parse_json` of a file; errors name the path.
nlohmann::json read_json(const std::string& path);

/// A document as text, on one line unless `indent` is at least 0. Text in it that is not UTF-8, such as a file name of another
/// encoding, gets replacement characters, so that a name cannot make writing fail.
std::string to_text(const nlohmann::json& document, int indent = -1);
std::string to_text(const nlohmann::ordered_json& document, int indent = -1);

/// A value for error messages: on one line, shortened if it is long.
std::string shown(const nlohmann::json& value);

}  // namespace respeft::formats
