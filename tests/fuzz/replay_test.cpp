#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include <respeft/formats/file.h>

#include "tests/fuzz/readers.h"

namespace respeft::fuzz {
namespace {

namespace fs = std::filesystem;

class Corpus : public ::testing::TestWithParam<Reader> {
 protected:
  static std::vector<fs::path> files() {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator("tests/fuzz/corpus/" + GetParam().name)) found.push_back(entry.path());
    return found;
  }
};

/// Seeds that hold what is refused: no tensors, or objects of other kinds.
const std::set<std::string> kRefused = {"pickle/plain2", "pickle/plain3", "pickle/plain4", "pickle/plain5"};

TEST_P(Corpus, IsRead) {
  const auto paths = files();
  EXPECT_FALSE(paths.empty());
  for (const auto& path : paths) {
    const std::string seed = GetParam().name + "/" + path.filename().string();
    SCOPED_TRACE(seed);
    EXPECT_NO_THROW(EXPECT_EQ(read(formats::read_file(path.string()), GetParam()), kRefused.count(seed) == 0));
  }
}

/// What a fuzzer would try first, without a fuzzer: files cut off, and files with single bytes changed.
TEST_P(Corpus, DamagedIsReadOrRefused) {
  for (const auto& path : files()) {
    SCOPED_TRACE(path);
    const std::string good = formats::read_file(path.string());
    const size_t step = good.size() / 200 + 1;
    for (size_t at = 0; at < good.size(); at += step) {
      EXPECT_NO_THROW(read(std::string_view(good).substr(0, at), GetParam())) << "cut at " << at;
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
      EXPECT_NO_THROW(read(bad, GetParam())) << "changed at " << at;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Readers, Corpus, ::testing::ValuesIn(readers()), [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace respeft::fuzz
