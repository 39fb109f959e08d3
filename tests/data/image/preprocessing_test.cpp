#include <gtest/gtest.h>
#include <respeft/data/image/preprocessing.h>

#include <nlohmann/json.hpp>

#include "tests/expect_error.h"

namespace respeft::data {
namespace {

TEST(Preprocessing, RoundTripsExactly) {
  const Preprocessing imagenet = {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}, 56, "bilinear"};
  EXPECT_EQ(preprocessing_from_json(to_json(imagenet)), imagenet);
  EXPECT_EQ(preprocessing_from_json(to_json(Preprocessing{})), Preprocessing{});
  const Preprocessing cropped = {.size = 224, .resize_size = 256, .resize_mode = "shortest"};
  EXPECT_EQ(preprocessing_from_json(to_json(cropped)), cropped);
}

TEST(Preprocessing, KeepsTheCropsShareAtAnotherSize) {
  const Preprocessing cropped = {.size = 224, .resize_size = 256, .resize_mode = "shortest"};
  EXPECT_EQ(cropped.at_size(448), (Preprocessing{.size = 448, .resize_size = 512, .resize_mode = "shortest"}));
  EXPECT_EQ(cropped.at_size(1), (Preprocessing{.size = 1, .resize_size = 1, .resize_mode = "shortest"}));
  EXPECT_EQ(Preprocessing{}.at_size(56), (Preprocessing{.size = 56}));
}

TEST(Preprocessing, WritesTheDocumentedMembers) {
  EXPECT_EQ(
      nlohmann::json::parse(to_json(Preprocessing{})),
      nlohmann::json::parse(R"({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": 224, "interpolation": "bicubic"})"));
  const auto cropped = nlohmann::json::parse(to_json(Preprocessing{.resize_size = 256}));
  EXPECT_EQ(cropped["resize_size"], 256);
  EXPECT_EQ(cropped["resize_mode"], "squash");
}

TEST(Preprocessing, RefusesWhatIsNotOne) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not a JSON object"},
      {"[1]", "not a JSON object"},
      {R"({"mean": [0,0,0]})", "'std' is missing"},
      {R"({"mean": [0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic"})", "'mean' must be three numbers"},
      {R"({"mean": [0,0,"0"], "std": [1,1,1], "size": 8, "interpolation": "bicubic"})", "'mean' must be three numbers"},
      {R"({"mean": [0,0,0], "std": [1,0,1], "size": 8, "interpolation": "bicubic"})", "'std' must be positive"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 0, "interpolation": "bicubic"})", "'size' must be a number of pixels"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8.5, "interpolation": "bicubic"})", "'size' must be a number of pixels"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 1e99, "interpolation": "bicubic"})", "'size' must be a number of pixels"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 18446744073709551615, "interpolation": "bicubic"})", "'size' must be"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 4097, "interpolation": "bicubic"})", "from 1 to 4096, is 4097"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic", "resize_size": 4097})", "from 0 to 4096"},
      {R"({"mean": )" + std::string(100'000, '[') + std::string(100'000, ']') + "}", "nested too deeply"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "nearest"})", "'interpolation' must be"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": 3})", "'interpolation' must be"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic", "resize_size": -1})", "'resize_size' must be"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic", "resize_size": 7})", "at least 8"},
      {R"({"mean": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic", "resize_mode": "crop"})",
       "'resize_mode' must be"},
      {R"({"means": [0,0,0], "std": [1,1,1], "size": 8, "interpolation": "bicubic"})", "did you mean 'mean'?"},
  };
  for (const auto& [text, fault] : cases) {
    SCOPED_TRACE(text);
    test::expect_error<std::invalid_argument>([&text = text] { preprocessing_from_json(text); }, {"preprocessing", fault});
  }
}

}  // namespace
}  // namespace respeft::data
