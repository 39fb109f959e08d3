#include <respeft/core/text.h>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace respeft::text {
namespace {

TEST(Utf8, KeepsWellFormedText) {
  for (const std::string text : {"", "cat", "café", "猫", "🐈", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(is_utf8(text)) << text;
    EXPECT_EQ(to_utf8(text), text);
  }
}

TEST(Utf8, WritesOtherBytesAsPythonsBackslashreplace) {
  // Expected: bytes.decode(errors="backslashreplace") of Python 3.11.
  const std::pair<std::string, std::string> cases[] = {
      {"caf\xE9", "caf\\xe9"},                       // Latin-1
      {"\xC3", "\\xc3"},                             // cut off
      {"\xE7\x8C", "\\xe7\\x8c"},                    //
      {"\xC0\xAF", "\\xc0\\xaf"},                    // longer than it need be
      {"\xE0\x80\x80", "\\xe0\\x80\\x80"},           //
      {"\xED\xA0\x80", "\\xed\\xa0\\x80"},           // a surrogate
      {"\xF4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},  // beyond U+10FFFF
      {"\xFF\xFE"
       "cat\x80",
       "\\xff\\xfe"
       "cat\\x80"},  //
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_FALSE(is_utf8(bytes)) << expected;
    EXPECT_EQ(to_utf8(bytes), expected);
  }
}

/// The JSON writer takes nothing but UTF-8.
TEST(Utf8, AgreesWithTheJsonWriter) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      for (const std::string& tail : {std::string(), std::string("\x80"), std::string("\xBF\xBF")}) {
        const std::string bytes = std::string{static_cast<char>(first), static_cast<char>(second)} + tail;
        bool writes = true;
        try {
          nlohmann::json(bytes).dump();
        } catch (const nlohmann::json::exception&) {
          writes = false;
        }
        ASSERT_EQ(is_utf8(bytes), writes) << first << " " << second << " " << tail.size();
        ASSERT_NO_THROW(nlohmann::json(to_utf8(bytes)).dump());
      }
    }
  }
}

}  // namespace
}  // namespace respeft::text
