// The rooms of the library (the folders of src/ and include/respeft/) use each other in one direction: a room may include headers
// of the rooms in lower rows. This test reads every #include; it needs neither LibTorch nor the library.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// From the top to the bottom. Rooms in one row may not use each other.
const std::vector<std::vector<std::string>> kRows = {
    {"cli"},
    {"runs"},
    {"train"},
    {"export", "inspect"},
    {"tasks"},
    {"merge", "adapters"},
    {"methods", "models"},
    {"data"},
    {"nn"},
    {"ops", "formats"},
    {"core"},
};

struct Exception {
  std::string file;
  std::string include;
  std::string reason;
};

/// Includes that break a rule below, each with its reason. Keep it short.
const std::vector<Exception> kExceptions = {};

/// One `#include` of one of this project's files.
struct Include {
  std::string file;  ///< the file that it stands in, from the checkout's root
  int line = 0;
  std::string path;  ///< as written, without the quotes
};

std::string to_text(const Include& include) {
  return include.file + ":" + std::to_string(include.line) + " includes " + include.path;
}

std::vector<Include> includes_in(const std::string& file, std::istream& text) {
  static const std::regex pattern(R"(^\s*#\s*include\s*[<"]((?:respeft|src|cuda|tests|examples)/[^>"]+)[>"])");
  std::vector<Include> found;
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    std::smatch match;
    if (std::regex_search(line, match, pattern)) found.push_back({file, number, match[1]});
  }
  return found;
}

/// The parts of a source's or header's path below its room's parent: "src/ops/cpu/x.cpp", "include/respeft/ops/x.h" and
/// "respeft/ops/x.h" (as included) are in "ops/…". Nothing for files outside the rooms.
std::optional<std::string> below_root(const std::string& path) {
  for (const std::string root : {"src/", "include/respeft/", "respeft/"}) {
    if (path.rfind(root, 0) == 0 && path.find('/', root.size()) != std::string::npos) return path.substr(root.size());
  }
  return std::nullopt;
}

std::optional<std::string> room_of(const std::string& path) {
  const auto below = below_root(path);
  return below ? std::optional(below->substr(0, below->find('/'))) : std::nullopt;
}

/// The family that a file belongs to: "vit" of "src/models/vit/names.cpp".
std::optional<std::string> family_of(const std::string& path) {
  static const std::regex pattern("^models/([^/]+)/");
  const auto below = below_root(path);
  std::smatch match;
  return below && std::regex_search(*below, match, pattern) ? std::optional(match[1].str()) : std::nullopt;
}

/// The row of a room, counted from the top; nothing for an unknown one.
std::optional<size_t> row_of(const std::string& room) {
  for (size_t row = 0; row < kRows.size(); ++row) {
    if (std::find(kRows[row].begin(), kRows[row].end(), room) != kRows[row].end()) return row;
  }
  return std::nullopt;
}

bool starts_with(const std::string& text, const std::string& start) {
  return text.rfind(start, 0) == 0;
}

/// Which rule an include breaks, if any.
std::optional<std::string> fault(const Include& include) {
  if (starts_with(include.file, "include/") && !starts_with(include.path, "respeft/"))
    return "an installed header includes one that is not installed";
  if (starts_with(include.path, "tests/") || starts_with(include.path, "examples/"))
    return "the library includes a test's header";
  const auto from = room_of(include.file);
  if (!from) return std::nullopt;  // respeft.h includes everything
  if (!row_of(*from)) return "'" + *from + "' is in no row of the table";
  if (starts_with(include.path, "cuda/"))
    return *from == "ops" ? std::nullopt : std::optional<std::string>("only ops uses the CUDA kernels");
  const auto to = room_of(include.path);
  if (!to) return "'" + include.path + "' is in no room: a room includes what it needs, not everything";
  if (*from == "cli" && starts_with(include.path, "src/") && *to != "cli") return "the program includes installed headers alone";
  if (*from != *to) {
    if (!row_of(*to)) return "'" + *to + "' is in no row of the table";
    if (*row_of(*to) == *row_of(*from)) return *from + " and " + *to + " are in one row";
    if (*row_of(*to) < *row_of(*from)) return *to + " is above " + *from;
  }
  const auto family = family_of(include.path);
  const bool may_know =
      !family || family_of(include.file) == family || include.file == "src/models/registry.cpp";  // it lists them
  if (!may_know) return "only models/" + *family + "/ knows this family; others use models/family.h";
  return std::nullopt;
}

bool is_excepted(const Include& include, const Exception& exception) {
  return include.file == exception.file && include.path == exception.include;
}

std::vector<Include> all_includes() {
  std::vector<Include> found;
  for (const std::string root : {"src", "include"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".h" && extension != ".cpp" && extension != ".cuh" && extension != ".cu") continue;
      std::ifstream text(entry.path());
      const auto more = includes_in(entry.path().generic_string(), text);
      found.insert(found.end(), more.begin(), more.end());
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Include& a, const Include& b) { return std::tie(a.file, a.line) < std::tie(b.file, b.line); });
  return found;
}

TEST(Rooms, UseOnlyThoseBelow) {
  const auto includes = all_includes();
  ASSERT_GT(includes.size(), 100u) << "run it in the checkout's root";
  std::ostringstream faults;
  int count = 0;
  for (const Include& include : includes) {
    const auto reason = fault(include);
    const bool excepted =
        std::any_of(kExceptions.begin(), kExceptions.end(), [&](const auto& entry) { return is_excepted(include, entry); });
    if (!reason || excepted) continue;
    faults << "  " << to_text(include) << ": " << *reason << "\n";
    ++count;
  }
  EXPECT_EQ(count, 0) << "Includes against the rooms' order (the table is in tests/structure/rooms_test.cpp):\n" << faults.str();
}

TEST(Rooms, ExceptionsAreNeeded) {
  const auto includes = all_includes();
  for (const Exception& exception : kExceptions) {
    EXPECT_FALSE(exception.reason.empty()) << exception.file;
    EXPECT_TRUE(std::any_of(includes.begin(), includes.end(),
                            [&](const auto& include) { return is_excepted(include, exception) && fault(include); }))
        << exception.file << " includes no " << exception.include << " any more: remove the exception";
  }
}

/// Every folder is a room of the table, and every room of the table has a folder, in src/ or include/respeft/.
TEST(Rooms, AreTheFolders) {
  for (const std::string root : {"src", "include/respeft"}) {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.is_directory())
        EXPECT_TRUE(row_of(entry.path().filename().string())) << entry.path() << " is in no row of the table";
    }
  }
}

struct Example {
  std::string file, line, fault;
};

/// The rules themselves, on files made up for them: that each can fail, and that what is right passes.
TEST(Rooms, RulesTellRightFromWrong) {
  const std::vector<Example> examples = {
      {"src/train/trainer.cpp", "#include <respeft/data/source.h>", ""},
      {"src/train/trainer.cpp", "#include \"src/train/autocast.h\"", ""},
      {"src/train/trainer.cpp", "#include <torch/nn/module.h>", ""},
      {"src/train/trainer.cpp", "#include <respeft/runs/run.h>", "runs is above train"},
      {"src/train/trainer.cpp", "  #  include \"src/runs/run.h\"", "runs is above train"},
      {"include/respeft/train/trainer.h", "#include <respeft/runs/config.h>", "runs is above train"},
      {"include/respeft/merge/merge.h", "#include <respeft/adapters/peft.h>", "merge and adapters are in one row"},
      {"include/respeft/merge/merge.h", "#include \"src/nn/layer.h\"", "an installed header includes one that is not installed"},
      {"src/nn/site.cpp", "#include <respeft/respeft.h>",
       "'respeft/respeft.h' is in no room: a room includes what it needs, not everything"},
      {"src/nn/site.cpp", "#include \"tests/folder.h\"", "the library includes a test's header"},
      {"src/cli/train.cpp", "#include <respeft/train/trainer.h>", ""},
      {"src/cli/train.cpp", "#include \"src/cli/flags.h\"", ""},
      {"src/cli/train.cpp", "#include \"src/train/autocast.h\"", "the program includes installed headers alone"},
      {"src/ops/cuda/way.h", "#include \"cuda/cost.h\"", ""},
      {"src/nn/linear.cpp", "#include \"cuda/cost.h\"", "only ops uses the CUDA kernels"},
      {"src/models/vit/vit.cpp", "#include \"src/models/vit/foreign_names.h\"", ""},
      {"src/export/timm.cpp", "#include <respeft/models/vit/vit.h>",
       "only models/vit/ knows this family; others use models/family.h"},
      {"src/models/swin/swin.cpp", "#include <respeft/models/vit/vit.h>",
       "only models/vit/ knows this family; others use models/family.h"},
      {"src/models/registry.cpp", "#include <respeft/models/vit/vit.h>", ""},
      {"src/attic/old.cpp", "#include <respeft/core/text.h>", "'attic' is in no row of the table"},
      {"src/train/trainer.cpp", "#include <respeft/attic/old.h>", "'attic' is in no row of the table"},
      {"include/respeft/respeft.h", "#include <respeft/runs/run.h>", ""},
  };
  for (const Example& example : examples) {
    std::istringstream text("#pragma once\n" + example.line + "\n");
    const auto includes = includes_in(example.file, text);
    const auto found = includes.empty() ? std::nullopt : fault(includes.at(0));
    EXPECT_EQ(found.value_or(""), example.fault) << example.file << ": " << example.line;
    if (!example.fault.empty()) EXPECT_EQ(includes.at(0).line, 2);
  }
}

}  // namespace
