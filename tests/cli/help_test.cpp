#include <chrono>
#include <regex>

#include <respeft/core/version.h>

#include "tests/cli/program.h"

namespace respeft::test {
namespace {

const std::vector<std::string> all_commands = {"train", "eval",  "predict", "merge", "export", "inspect",
                                               "info",  "bench", "doctor",  "suite", "recipes"};

size_t longest_line(const std::string& text) {
  size_t longest = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

TEST(Help, OverviewNamesEveryCommandAndIsQuick) {
  run({"--help"});  // the libraries come into memory
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = run({"--help"});
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "");
  for (const auto& command : all_commands) EXPECT_NE(outcome.out.find("\n  " + command + " "), std::string::npos) << command;
  EXPECT_LT(longest_line(outcome.out), 100u);
#ifndef RESPEFT_SANITIZED
  EXPECT_LT(elapsed, 5.0);  // 0.3 s on an idle machine
#endif
}

TEST(Help, EveryCommandHasHelpWithTheFlagsOfAll) {
  for (const auto& command : all_commands) {
    const Outcome outcome = run({command, "--help"});
    EXPECT_EQ(outcome.status, 0) << command << outcome.err;
    EXPECT_EQ(outcome.err, "");
    for (const std::string& part : {"Usage: respeft " + command, std::string("Examples:"), std::string("--config FILE"),
                                    std::string("--threads N"), std::string("--json"), std::string("-h, --help")}) {
      EXPECT_NE(outcome.out.find(part), std::string::npos) << command << " lacks " << part << "\n" << outcome.out;
    }
    EXPECT_LE(longest_line(outcome.out), 130u) << command;
  }
}

TEST(Help, HelpWinsOverOtherArguments) {
  EXPECT_EQ(run({"merge", "--out", "x", "-h"}).status, 0);
  EXPECT_EQ(run({"merge", "--no-such-flag", "--help"}).status, 0);
}

TEST(Help, MethodOptionsNameTheirMethods) {
  const Outcome outcome = run({"bench", "--help"});
  EXPECT_NE(outcome.out.find("--rank N"), std::string::npos) << outcome.out;
  // Where lines break does not matter.
  const std::string words = std::regex_replace(outcome.out, std::regex("\\s+"), " ");
  EXPECT_NE(words.find("[lora, reslora-bs, reslora-is, reslora-ms, loha, lokr: 8]"), std::string::npos) << outcome.out;
}

TEST(Help, NoArgumentsShowsTheOverviewAndFails) {
  const Outcome outcome = run({});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("Usage: respeft COMMAND"), std::string::npos);
}

TEST(Help, Version) {
  const Outcome outcome = run({"--version"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out.rfind("respeft " RESPEFT_VERSION_STRING " (LibTorch ", 0), 0u) << outcome.out;
}

TEST(Output, AClosedPipeIsNoError) {
  const Outcome outcome = shell("{ \"$RESPEFT\" info; echo status $? >&2; } | head -n 1");
  EXPECT_EQ(outcome.err, "status 0\n");
}

TEST(Output, AFullDeviceIsAnError) {
  const Outcome outcome = shell("\"$RESPEFT\" --help >/dev/full");
  expect_error(outcome, 1, {"standard output", "No space left on device"});
}

}  // namespace
}  // namespace respeft::test
