#pragma once

#include <string>
#include <string_view>
#include <vector>

// Every reader of files that come from elsewhere, as the fuzzers and the replay of their corpus call it.
namespace respeft::fuzz {

struct Reader {
  std::string name;
  /// Reads all that there is to read; what it refuses is thrown.
  void (*run)(std::string_view bytes);
};

const std::vector<Reader>& readers();
const Reader& reader(const std::string& name);

/// Runs the reader, which may refuse the bytes as the library says it does. Any other exception is thrown on. Returns whether
/// they were read.
bool read(std::string_view bytes, const Reader& reader);

}  // namespace respeft::fuzz
