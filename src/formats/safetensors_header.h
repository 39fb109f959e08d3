#pragma once

#include <respeft/formats/safetensors.h>

#include <map>
#include <string>
#include <string_view>

namespace respeft::formats {

/// The JSON header of a safetensors file: entries as it declares them, sizes and offsets not yet checked against the file.
struct SafetensorsHeader {
  Metadata metadata;
  std::map<std::string, SafetensorsFile::Entry> entries;
};

/// Throws `std::runtime_error` that names `path`, the key and the fault. Allocates in proportion to `json`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path);

/// The format's name of a dtype, e.g. `F32`; null when the format (as far as this library reads it) has none.
const char* safetensors_name(at::ScalarType dtype);

}  // namespace respeft::formats
