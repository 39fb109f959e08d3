#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace respeft::cli {

/// What there is: models, methods with their options, kinds of data, export formats.
std::string list_everything();
nlohmann::json list_everything_json();

/// What a safetensors file holds: its metadata, then every tensor's key, type and shape.
/// Throws `std::runtime_error` on a bad file.
std::string describe_file(const std::string& path, const std::string& state_dict);
nlohmann::json describe_file_json(const std::string& path, const std::string& state_dict);

}  // namespace respeft::cli
