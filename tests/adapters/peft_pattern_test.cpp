#include "src/adapters/peft_pattern.h"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/expect_error.h"

namespace respeft::adapters {
namespace {

bool matches(const std::string& pattern, const std::string& module) {
  ModulePatterns patterns;
  patterns.add(pattern, 1.0);
  return patterns.find(module).has_value();
}

// Expected: re.match(rf"(.*\.)?({pattern})$", module) of Python 3.11.
TEST(ModulePatterns, MatchAsPythonDoes) {
  const std::string module = "blocks.11.attn.qkv";
  for (const char* pattern :
       {"qkv", "attn.qkv", "attn.qkv$", R"(.*blocks\.(0|11)\.attn\.qkv)", R"(blocks\.\d{1,2}\.attn\.(q|k|v)+)",
        R"(^blocks\.11\..*)", "[^.]*", "(?!mlp).*qkv", R"(\bqkv)", "nothing|qkv", ".*?"})
    EXPECT_TRUE(matches(pattern, module)) << pattern;
  for (const char* pattern : {"", "kv", "^attn.qkv", "blocks", R"(blocks\.1\..*)", "QKV", "(?!.*qkv).*"})
    EXPECT_FALSE(matches(pattern, module)) << pattern;
  EXPECT_TRUE(matches("", "blocks."));
}

TEST(ModulePatterns, RefuseWhatPythonReadsInAnotherWay) {
  const std::pair<const char*, const char*> cases[] = {
      {"(?i)qkv", "'(?i)'"},        {"(?P<x>q)", "'(?P<'"}, {"(?<=q)k", "'(?<='"},
      {R"((q)\1)", R"('\1')"},      {R"(\Aq)", R"('\A')"},  {"[]q]", "']'"},
      {"[[:alpha:]]", "'['"},       {"a{,3}", "brace"},     {"a{x}", "brace"},
      {"a*+", "repetition"},        {"é", "ASCII"},         {"(q", "regular expression"},
      {"*q", "regular expression"}, {"q\\", "backslash"},   {"[q", "']'"}};
  for (const auto& [pattern, word] : cases)
    test::expect_error<std::runtime_error>([&, &pattern = pattern] { matches(pattern, "q"); }, {word});
}

/// Patterns that take a backtracking matcher exponential time, or a compiler endless memory.
TEST(ModulePatterns, TakeBoundedTime) {
  const auto start = std::chrono::steady_clock::now();
  const std::string module(200, 'a');
  for (const char* pattern : {"(a+)+b", "((a|aa)+)+b", "(a*)*b", "(.*a){12}b", "(a?){20}a{20}b"})
    EXPECT_FALSE(matches(pattern, module));
  test::expect_error<std::runtime_error>([] { matches("((a{100}){100}){100}", "a"); }, {"too large"});
  test::expect_error<std::runtime_error>([] { matches("a{99999999999999999999}", "a"); }, {"brace"});
  test::expect_error<std::runtime_error>([] { matches(std::string(20'000, 'a'), "a"); }, {"too large"});
  test::expect_error<std::runtime_error>([] { matches(".*", std::string(5'000, 'a')); }, {"5000 characters"});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace respeft::adapters
