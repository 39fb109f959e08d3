#include <gtest/gtest.h>
#include <respeft/core/toml.h>

#include <stdexcept>

#include "tests/expect_error.h"

namespace respeft {
namespace {

using Kind = TomlEntry::Kind;

TEST(Toml, TablesOnlyGroupKeys) {
  const auto document = parse_toml("a = 1\n[group]\nb-c = \"x\"\n[group.inner]\nd = true\n", "run.toml");
  ASSERT_EQ(document.entries.size(), 3U);
  EXPECT_EQ(document.origin, "run.toml");
  EXPECT_EQ(document.entries[0].name, "a");
  EXPECT_EQ(document.entries[1].name, "b_c");
  EXPECT_EQ(document.entries[1].line, 3U);
  EXPECT_EQ(document.entries[2].name, "d");
  EXPECT_EQ(document.entries[2].line, 5U);
  EXPECT_EQ(document.find("b_c"), &document.entries[1]);
  EXPECT_EQ(document.find("group"), nullptr);
}

TEST(Toml, ValuesHaveAKindAndTexts) {
  const auto document = parse_toml(
      "flag = true\nwhole = -3\nreal = 1e-7\ntext = \"a, b\"\nwhole_list = [1, 2]\nmixed = [0.5, 1]\ntexts = [\"q\", \"v\"]\n"
      "odd = [1, \"a\"]\nnested = [[1], [2]]\nempty = []\nday = 2024-05-06\n",
      "run.toml");
  const auto expect = [&](const char* name, Kind kind, Kind elements, const std::string& text) {
    const auto* entry = document.find(name);
    ASSERT_NE(entry, nullptr) << name;
    EXPECT_EQ(entry->kind, kind) << name;
    EXPECT_EQ(entry->elements, elements) << name;
    EXPECT_EQ(entry->text(), text) << name;
  };
  expect("flag", Kind::boolean, Kind::other, "true");
  expect("whole", Kind::integer, Kind::other, "-3");
  expect("real", Kind::number, Kind::other, "1e-07");
  expect("text", Kind::text, Kind::other, "a, b");
  expect("whole_list", Kind::list, Kind::integer, "1,2");
  expect("mixed", Kind::list, Kind::number, "0.5,1");
  expect("texts", Kind::list, Kind::text, "q,v");
  expect("empty", Kind::list, Kind::other, "");
  for (const char* name : {"odd", "nested", "day"}) EXPECT_EQ(document.find(name)->kind, Kind::other) << name;
}

TEST(Toml, ErrorsNameOriginAndLine) {
  const auto parse = [](const char* text) { return [text] { parse_toml(text, "run.toml"); }; };
  test::expect_error<std::invalid_argument>(parse("a = 1\nb = = 2\n"), {"run.toml:2: "});
  test::expect_error<std::invalid_argument>(parse("a = 1\n[x]\nb = 2\n[y]\na = 1\n"), {"run.toml:5: a is given twice"});
  test::expect_error<std::invalid_argument>(parse("some-key = 1\nsome_key = 1\n"), {"run.toml:2: some_key is given twice"});
  const auto document = parse_toml("\na = 1\n", "run.toml");
  test::expect_error<std::invalid_argument>([&] { document.fail(document.entries[0], "a: is odd"); }, {"run.toml:2: a: is odd"});
}

}  // namespace
}  // namespace respeft
