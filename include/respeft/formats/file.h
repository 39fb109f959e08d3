#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace respeft::formats {

/// Writes a file completely or not at all: to a temporary file in the same folder, which is flushed to disk and renamed.
/// `write` receives a function that appends bytes. Throws `std::runtime_error` with the path and the system's reason.
void write_file(const std::string& path, const std::function<void(const std::function<void(std::string_view)>&)>& write);
void write_file(const std::string& path, std::string_view content);

/// Writes a folder of files completely or not at all: `fill` receives a temporary folder, which is renamed when it returns.
/// `path` may be an empty folder already. Throws `std::runtime_error` with the path and the system's reason.
void write_folder(const std::string& path, const std::function<void(const std::string& folder)>& fill);

/// The content of a file. Throws `std::runtime_error` with the path and the system's reason.
std::string read_file(const std::string& path);

/// SHA-256 of a file's content, in hexadecimal. Throws `std::runtime_error` with the path and the system's reason.
std::string file_sha256(const std::string& path);
/// SHA-256 of bytes, in hexadecimal.
std::string sha256(std::string_view bytes);

}  // namespace respeft::formats
