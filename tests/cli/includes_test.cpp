#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace respeft::test {
namespace {

/// The program is a client of the library like any other: besides its own headers it includes public ones alone.
TEST(Program, IncludesPublicHeadersAndItsOwn) {
  int64_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("src/cli")) {
    std::ifstream file(entry.path());
    ++files;
    for (std::string line; std::getline(file, line);) {
      const bool quoted = line.starts_with("#include \"");
      EXPECT_TRUE(!quoted || line.starts_with("#include \"src/cli/")) << entry.path() << ": " << line;
    }
  }
  EXPECT_GT(files, 20);
}

}  // namespace
}  // namespace respeft::test
