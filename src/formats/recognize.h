#pragma once

#include <string>
#include <string_view>

namespace respeft::formats {

/// Says what a file is that is not read here, by its first bytes: a Git LFS pointer, a web page, HDF5, GGUF, msgpack, an archive,
/// an image other than JPEG and PNG. Empty for anything else.
std::string foreign_format(std::string_view bytes);

/// The first bytes of a file as they are shown in an error, in quotes; bytes that cannot be printed are dots.
std::string first_bytes(std::string_view bytes);

}  // namespace respeft::formats
