#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/folder.h"

namespace respeft::test {

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// What a child process did.
struct Outcome {
  int status = -1;  ///< exit status; 128 + signal when it was killed
  std::string out, err;

  nlohmann::json json() const { return nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false); }
};

inline std::string program() {
  const char* const path = std::getenv("RESPEFT_PROGRAM");
  return path ? path : "build/bin/respeft";
}

/// Runs a shell command, in which `$RESPEFT` is the program.
inline Outcome shell(const std::string& command) {
  const Folder folder;
  setenv("RESPEFT", std::filesystem::absolute(program()).c_str(), 1);
  const std::string whole = "( " + command + " ) >'" + (folder / "out") + "' 2>'" + (folder / "err") + "' </dev/null";
  const int result = std::system(whole.c_str());
  Outcome outcome;
  outcome.status = WIFEXITED(result) ? WEXITSTATUS(result) : 128 + WTERMSIG(result);
  outcome.out = read_text(folder / "out");
  outcome.err = read_text(folder / "err");
  return outcome;
}

/// Runs the program with these arguments.
inline Outcome run(const std::vector<std::string>& arguments) {
  std::string command = "exec \"$RESPEFT\"";
  for (const auto& argument : arguments) {
    command += " '" + argument + "'";
    EXPECT_EQ(argument.find('\''), std::string::npos) << "quotes are not handled here";
  }
  return shell(command);
}

/// Checks that the program failed as it should: this status, a last line on stderr (after a slow command's progress) that names
/// the program and holds each of `words`, nothing on stdout, and nothing of LibTorch's or C++'s inside.
inline void expect_error(const Outcome& outcome, int status, const std::vector<std::string>& words) {
  EXPECT_EQ(outcome.status, status) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  const size_t last = outcome.err.size() < 2 ? std::string::npos : outcome.err.rfind('\n', outcome.err.size() - 2);
  const std::string line = last == std::string::npos ? outcome.err : outcome.err.substr(last + 1);
  EXPECT_EQ(line.rfind("respeft: error: ", 0), 0u) << outcome.err;
  EXPECT_EQ(outcome.err.rfind("respeft: error: "), outcome.err.find("respeft: error: ")) << outcome.err;
  for (const auto& word : words) EXPECT_NE(line.find(word), std::string::npos) << "no '" << word << "' in " << outcome.err;
  for (const char* inner : {"c10::", "Exception raised", "frame #", "std::", "terminate", ".cpp:", ".h:"}) {
    EXPECT_EQ(outcome.err.find(inner), std::string::npos) << outcome.err;
  }
}

}  // namespace respeft::test
