#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace respeft::formats {

/// A JSON document from outside; a discarded value where the text is not JSON. Throws `std::runtime_error` where values lie more
/// than 32 deep in each other: copying and writing a document takes stack for every level.
nlohmann::json parse_json(const std::string& text);

/// `parse_json` of a file; what it throws names the path.
nlohmann::json read_json(const std::string& path);

/// A document as text, on one line unless `indent` is at least 0. Text in it that is not UTF-8, such as a file name of another
/// encoding, gets replacement characters: what is written must not fail for a name.
std::string to_text(const nlohmann::json& document, int indent = -1);
std::string to_text(const nlohmann::ordered_json& document, int indent = -1);

/// A value as it is shown in an error: on one line, a long one cut.
std::string shown(const nlohmann::json& value);

}  // namespace respeft::formats
