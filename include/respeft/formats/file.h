#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace respeft::formats {

/// Writes a file whole or not at all: beside its place, flushed to the disk, then renamed.
/// `write` is given a function that appends bytes. Throws `std::runtime_error` with the path and the system's reason.
void write_file(const std::string& path, const std::function<void(const std::function<void(std::string_view)>&)>& write);
void write_file(const std::string& path, std::string_view content);

/// Writes a folder of files whole or not at all: `fill` is given a new folder beside its place, which is renamed when it
/// returns. An empty folder may be there already. Throws `std::runtime_error` with the path and the system's reason.
void write_folder(const std::string& path, const std::function<void(const std::string& folder)>& fill);

/// The whole file. Throws `std::runtime_error` with the path and the system's reason.
std::string read_file(const std::string& path);

/// SHA-256 of a file's content, in hexadecimal. Throws `std::runtime_error` with the path and the system's reason.
std::string file_sha256(const std::string& path);
/// SHA-256 of bytes, in hexadecimal.
std::string sha256(std::string_view bytes);

}  // namespace respeft::formats
