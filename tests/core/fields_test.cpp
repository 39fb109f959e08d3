#include <gtest/gtest.h>
#include <respeft/core/fields.h>
#include <respeft/core/toml.h>

#include <limits>
#include <stdexcept>

#include "tests/expect_error.h"

namespace respeft {
namespace {

struct Part {
  double share = 0.5;
  std::array<double, 3> color = {0, 0, 0};

  Fields fields() {
    Fields list;
    list.add({.name = "share", .help = "a share below one", .minimum = 0, .maximum = 1, .below_maximum = true}, share);
    list.add({.name = "color", .help = "three numbers", .minimum = 0, .maximum = 1, .presets = {{"gray", {0.5, 0.5, 0.5}}}},
             color);
    return list;
  }
};

struct Settings {
  bool flip = false;
  int64_t count = 3;
  double rate = 0.1;
  std::string mode = "slow";
  Part part;

  Fields fields() {
    Fields list;
    list.add({.name = "flip", .help = "turn it over"}, flip);
    list.add({.name = "count", .help = "how many", .minimum = 1, .may_change = true}, count);
    list.add({.name = "rate", .help = "how fast", .minimum = 0, .above_minimum = true}, rate);
    list.add({.name = "mode", .help = "how", .choices = {"", "slow", "fast"}}, mode);
    return list.add(part.fields());
  }
};

template <class Call>
void expect_invalid(const Call& call, const std::string& message) {
  try {
    call();
    ADD_FAILURE() << "expected: " << message;
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(error.what(), message);
  }
}

TEST(Fields, ListMembersInOrder) {
  Settings settings;
  const Fields fields = settings.fields();
  EXPECT_EQ(fields.names(), (std::vector<std::string>{"flip", "count", "rate", "mode", "share", "color"}));
  const std::vector<std::pair<std::string, std::string>> rows = {{"flip", "false"}, {"count", "3"},   {"rate", "0.1"},
                                                                 {"mode", "slow"},  {"share", "0.5"}, {"color", "0,0,0"}};
  EXPECT_EQ(fields.describe(), rows);
  std::string placeholders;
  for (const auto& field : fields) placeholders += field.placeholder() + " ";
  EXPECT_EQ(placeholders, "true|false N X TEXT X R,G,B ");
  EXPECT_EQ(fields.find("rates"), nullptr);
}

TEST(Fields, AreSetFromText) {
  Settings settings;
  Fields fields = settings.fields();
  const std::pair<const char*, const char*> texts[] = {{"flip", "on"},   {"count", "12"},   {"rate", "2.5e-3"},
                                                       {"mode", "fast"}, {"share", "0.25"}, {"color", "0.1,0.2,1"}};
  for (const auto& [name, text] : texts) fields.set(name, text);
  EXPECT_TRUE(settings.flip);
  EXPECT_EQ(settings.count, 12);
  EXPECT_EQ(settings.rate, 2.5e-3);
  EXPECT_EQ(settings.mode, "fast");
  EXPECT_EQ(settings.part.share, 0.25);
  EXPECT_EQ(settings.part.color, (std::array<double, 3>{0.1, 0.2, 1.0}));
  fields.set("color", "gray");
  EXPECT_EQ(settings.part.color[2], 0.5);
}

TEST(Fields, BooleansHaveOneSetOfSpellings) {
  for (const char* yes : {"true", "on", "yes", "1"}) EXPECT_TRUE(parse_bool(yes)) << yes;
  for (const char* no : {"false", "off", "no", "0"}) EXPECT_FALSE(parse_bool(no)) << no;
  for (const char* neither : {"", "True", "ja", "2", "on "})
    expect_invalid([&] { parse_bool(neither); }, std::string("must be true or false, not '") + neither + "'");
}

TEST(Fields, TextsThatDoNotFitAreErrorsAndChangeNothing) {
  Settings settings;
  Fields fields = settings.fields();
  const auto set = [&](const char* name, const char* text) { return [&fields, name, text] { fields.set(name, text); }; };
  expect_invalid(set("count", "9x"), "count: must be a whole number, not '9x'");
  expect_invalid(set("count", ""), "count: must be a whole number, not ''");
  expect_invalid(set("count", "0"), "count: must be at least 1, not 0");
  expect_invalid(set("rate", "0"), "rate: must be above 0, not 0");
  expect_invalid(set("rate", "nan"), "rate: must be a finite number, not nan");
  expect_invalid(set("share", "1"), "share: must be below 1, not 1");
  expect_invalid(set("mode", "fats"), "mode: must be one of slow, fast, not 'fats'; did you mean 'fast'?");
  expect_invalid(set("color", "0,0"), "color: must be three numbers R,G,B or a name, not '0,0'");
  expect_invalid(set("color", "0,0,x"), "color: must be three numbers R,G,B, not 'x'");
  expect_invalid(set("color", "0,0,2"), "color: must be at most 1, not 2");
  expect_invalid(set("flip", "maybe"), "flip: must be true or false, not 'maybe'");
  expect_invalid(set("coun", "1"), "unknown setting 'coun'; did you mean 'count'?");
  Settings defaults;
  EXPECT_TRUE(fields.differences(defaults.fields()).empty());
  settings.rate = -std::numeric_limits<double>::infinity();
  expect_invalid([&] { fields.check(); }, "rate: must be above 0, not -inf");
}

TEST(Fields, AreSetFromTypedValues) {
  Settings settings;
  Fields fields = settings.fields();
  fields.assign({{"flip", true},
                 {"count", int64_t{7}},
                 {"rate", int64_t{2}},
                 {"share", std::string("0.75")},
                 {"color", std::string("1,0,0")}});
  EXPECT_TRUE(settings.flip);
  EXPECT_EQ(settings.count, 7);
  EXPECT_EQ(settings.rate, 2.0) << "a whole number is a number";
  EXPECT_EQ(settings.part.share, 0.75) << "numbers may come as text";
  EXPECT_EQ(settings.part.color[0], 1.0);
  EXPECT_EQ(fields.values().at("count"), OptionValue(int64_t{7}));
  EXPECT_EQ(fields.values().at("color"), OptionValue(std::string("1,0,0")));
  Settings again;
  again.fields().assign(fields.values());
  EXPECT_TRUE(again.fields().differences(fields).empty());
  expect_invalid([&] { fields.assign({{"count", 1.5}}); }, "count: must be a whole number, not '1.5'");
  expect_invalid([&] { fields.assign({{"mode", true}}); }, "mode: must be a text, not 'true'");
  expect_invalid([&] { fields.assign({{"flip", int64_t{1}}}); }, "flip: must be true or false, not '1'");
  expect_invalid([&] { fields.assign({{"rates", 1.0}}, "option"); }, "unknown option 'rates'; did you mean 'rate'?");
  expect_invalid([] { Fields().assign({{"rate", 1.0}}, "option"); }, "unknown option 'rate'; there are none");
}

TEST(Fields, AreReadFromToml) {
  Settings settings;
  const Fields fields = settings.fields();
  const auto read = [&](const std::string& toml) {
    const auto document = parse_toml(toml, "run.toml");
    for (const auto& entry : document.entries) fields.at(entry.name).read(entry);
  };
  read("flip = true\ncount = 5\nrate = 3\nmode = \"\"\ncolor = [0.5, 0, 1]\n");
  EXPECT_EQ(settings.rate, 3.0);
  EXPECT_EQ(settings.mode, "");
  EXPECT_EQ(settings.part.color, (std::array<double, 3>{0.5, 0, 1}));
  read("flip = \"off\"\ncolor = \"gray\"\n");
  EXPECT_FALSE(settings.flip);
  EXPECT_EQ(settings.part.color[0], 0.5);
  expect_invalid([&] { read("flip = 1\n"); }, "must be true or false");
  expect_invalid([&] { read("count = \"9\"\n"); }, "must be a whole number");
  expect_invalid([&] { read("count = 9.5\n"); }, "must be a whole number");
  expect_invalid([&] { read("rate = true\n"); }, "must be a number");
  expect_invalid([&] { read("mode = 3\n"); }, "must be a text in quotes");
  expect_invalid([&] { read("color = [1, 0]\n"); }, "must be three numbers [R, G, B] or a name");
  expect_invalid([&] { read("color = [1, 0, \"x\"]\n"); }, "must be three numbers [R, G, B] or a name");
  expect_invalid([&] { read("count = 0\n"); }, "must be at least 1, not 0");
}

TEST(Fields, TomlReadsBackEqual) {
  Settings settings;
  settings.mode = "fast";
  settings.rate = 1.0 / 3.0;
  settings.part = {0.0, {0.485, 1.0, 1e-7}};
  const std::string toml = settings.fields().toml();
  EXPECT_EQ(toml.substr(0, toml.find("count")), "# turn it over\nflip = false\n# how many\n");
  Settings read;
  const auto document = parse_toml(toml, "run.toml");
  const Fields fields = read.fields();
  EXPECT_EQ(document.entries.size(), fields.size());
  for (const auto& entry : document.entries) fields.at(entry.name).read(entry);
  EXPECT_EQ(read.rate, settings.rate);
  EXPECT_TRUE(fields.differences(settings.fields()).empty());
}

TEST(Fields, QuotesTextsForToml) {
  const std::string odd = "a \"quoted\" \\ line\n\t\x01 é";
  const auto document = parse_toml("text = " + quote_toml(odd) + "\n", "run.toml");
  EXPECT_EQ(document.entries[0].text(), odd);
  EXPECT_EQ(to_toml(OptionValue(2.0)), "2.0");
  EXPECT_EQ(to_toml(OptionValue(int64_t{2})), "2");
  EXPECT_EQ(to_toml(OptionValue(true)), "true");
}

TEST(Fields, AValueCanBeReadWithoutTheMember) {
  Settings settings;
  const Fields fields = settings.fields();
  EXPECT_EQ(fields.at("count").parsed(std::string("8")), OptionValue(int64_t{8}));
  EXPECT_EQ(fields.at("flip").parsed(parse_toml("flip = true\n", "t").entries[0]), OptionValue(true));
  expect_invalid([&] { fields.at("count").parsed(std::string("0")); }, "must be at least 1, not 0");
  EXPECT_EQ(settings.count, 3);
}

TEST(Fields, DifferencesNameBothValues) {
  Settings before, now;
  now.count = 4;
  now.part.color = {1, 1, 1};
  const auto found = before.fields().differences(now.fields());
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].info.name, "count");
  EXPECT_TRUE(found[0].info.may_change);
  EXPECT_EQ(found[0].before, "3");
  EXPECT_EQ(found[0].now, "4");
  EXPECT_EQ(found[1].now, "1,1,1");
}

}  // namespace
}  // namespace respeft
