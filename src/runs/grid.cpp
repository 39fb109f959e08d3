#include "src/runs/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include <respeft/core/text.h>

namespace respeft::runs {
namespace {

/// What a grid may choose among: how a model is trained, not which model, on what or where to.
std::vector<std::string> fields_of_training() {
  std::vector<std::string> names;
  TrainConfig config;
  for (const auto& [info, member] : config.fields()) {
    const bool of_method = info.group == "Method" && info.name != "method";
    if (info.group == "Training" || info.group == "Augmentation" || of_method || info.name == "flip") names.push_back(info.name);
  }
  return names;
}

/// `lr=1,2` as the field's name and its values.
std::pair<std::string, std::vector<std::string>> parse_axis(const std::string& text) {
  const size_t equals = text.find('=');
  const auto name = text::split(text.substr(0, equals), ' ');
  const auto values = equals == std::string::npos ? std::vector<std::string>() : text::split(text.substr(equals + 1), ',');
  if (name.size() != 1 || values.empty())
    throw std::invalid_argument(fmt::format("grid: expected FIELD=VALUE,VALUE,…, not '{}'", text));
  std::string field = name[0];
  std::replace(field.begin(), field.end(), '-', '_');
  const auto known = fields_of_training();
  if (std::find(known.begin(), known.end(), field) == known.end())
    throw std::invalid_argument("grid: " + text::unknown("setting of training", field, known));
  return {field, values};
}

}  // namespace

std::vector<int64_t> parse_seeds(const std::string& seeds) {
  std::vector<int64_t> numbers;
  for (const auto& text : text::split(seeds, ',')) {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 0)
      throw std::invalid_argument(fmt::format("seeds: must be whole numbers with commas between, not '{}'", text));
    if (std::find(numbers.begin(), numbers.end(), number) != numbers.end())
      throw std::invalid_argument(fmt::format("seeds: {} is given twice", number));
    numbers.push_back(number);
  }
  return numbers;
}

std::vector<Settings> parse_grid(const std::string& grid) {
  std::vector<Settings> combinations;
  for (const auto& axis : text::split(grid, ';')) {
    const auto [field, values] = parse_axis(axis);
    if (combinations.empty()) combinations.emplace_back();
    std::vector<Settings> longer;
    for (const auto& settings : combinations) {
      for (const auto& [name, value] : settings) {
        if (name == field) throw std::invalid_argument(fmt::format("grid: {} is given twice", field));
      }
      for (const auto& value : values) {
        longer.push_back(settings);
        longer.back().emplace_back(field, value);
      }
    }
    combinations = std::move(longer);
  }
  return combinations;
}

TrainConfig with_settings(TrainConfig config, const Settings& settings) {
  for (const auto& [name, value] : settings) set_field(config, name, value);
  return config;
}

}  // namespace respeft::runs
