#include <respeft/core/text.h>

#include <gtest/gtest.h>

#include <string>

namespace respeft::text {
namespace {

TEST(ValidUtf8, KeepsWhatIsValid) {
  for (const char* text : {"", "cat", "caf\u00e9", "\u732b", "\U0001F408", "a\\xe9"}) EXPECT_EQ(valid_utf8(text), text);
}

// The invalid sequences are those of RFC 3629, section 3: lone and missing continuation bytes, overlong forms, surrogates, and
// code points beyond U+10FFFF.
TEST(ValidUtf8, WritesOtherBytesAsTheyAre) {
  EXPECT_EQ(valid_utf8("caf\xe9"), "caf\\xe9");
  EXPECT_EQ(valid_utf8("\xe9t\xe9.png"), "\\xe9t\\xe9.png");
  EXPECT_EQ(valid_utf8("\x80"), "\\x80");
  EXPECT_EQ(valid_utf8("\xc3"), "\\xc3");
  EXPECT_EQ(valid_utf8("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(valid_utf8("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");
  EXPECT_EQ(valid_utf8("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(valid_utf8(std::string("\xe7\x8c", 2) + "x"), "\\xe7\\x8cx");
}

}  // namespace
}  // namespace respeft::text
