#pragma once

#include <respeft/formats/safetensors.h>

#include <map>
#include <string>
#include <string_view>

namespace respeft::formats {

/// The JSON header of a safetensors file. Sizes and offsets are as declared, not yet checked against the file.
struct SafetensorsHeader {
  Metadata metadata;
  std::map<std::string, SafetensorsFile::Entry> entries;
};

/// Throws `std::runtime_error` that names `path`, the key and the fault. Memory is proportional to the size of `json`.
SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path);

/// The format's name of a dtype, e.g. `F32`; null if there is none that this library reads.
const char* safetensors_name(at::ScalarType dtype);

}  // namespace respeft::formats
