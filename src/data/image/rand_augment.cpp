#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <utility>

#include <respeft/data/image/augment.h>

#include <respeft/core/text.h>
#include "src/data/distributions.h"
#include "src/data/random.h"

namespace respeft::data {
namespace {

constexpr double kStrongest = 10.0;  ///< the magnitude that stands for an operation's full range

/// Operations by timm's names, in its order.
const std::vector<std::pair<std::string, Operation>>& operations() {
  static const std::vector<std::pair<std::string, Operation>> all = {
      {"AutoContrast", Operation::auto_contrast},
      {"Equalize", Operation::equalize},
      {"Invert", Operation::invert},
      {"Rotate", Operation::rotate},
      {"Posterize", Operation::posterize},
      {"Solarize", Operation::solarize},
      {"SolarizeAdd", Operation::solarize_add},
      {"Color", Operation::color},
      {"Contrast", Operation::contrast},
      {"Brightness", Operation::brightness},
      {"Sharpness", Operation::sharpness},
      {"ShearX", Operation::shear_x},
      {"ShearY", Operation::shear_y},
      {"TranslateX", Operation::translate_x},
      {"TranslateY", Operation::translate_y},
  };
  return all;
}

/// What `tweights` prefers.
const std::vector<std::pair<Operation, double>>& weighted_operations() {
  static const std::vector<std::pair<Operation, double>> all = {
      {Operation::rotate, 3.0},        {Operation::shear_x, 2.0},        {Operation::shear_y, 2.0},
      {Operation::translate_x, 1.0},   {Operation::translate_y, 1.0},    {Operation::color, 0.25},
      {Operation::sharpness, 0.25},    {Operation::auto_contrast, 0.25}, {Operation::solarize, 0.05},
      {Operation::solarize_add, 0.05}, {Operation::contrast, 0.05},      {Operation::brightness, 0.05},
      {Operation::equalize, 0.05},     {Operation::posterize, 0.05},     {Operation::invert, 0.05},
  };
  return all;
}

bool moves_pixels(Operation operation) {
  return operation == Operation::rotate || operation >= Operation::shear_x;
}

/// An operation's argument at a magnitude. Where more is stronger both ways, the generator draws which way.
double argument_of(Operation operation, double magnitude, bool increasing, std::mt19937_64& generator) {
  const double level = magnitude / kStrongest;
  const auto either_way = [&](double value) { return draw_uniform(generator) > 0.5 ? -value : value; };
  switch (operation) {
    case Operation::auto_contrast:
    case Operation::equalize:
    case Operation::invert:
      return 0.0;
    case Operation::rotate:
      return either_way(level * 30.0);
    case Operation::posterize:
      return increasing ? 4.0 - std::trunc(level * 4) : std::trunc(level * 4);
    case Operation::solarize: {
      const double threshold = std::min(256.0, std::trunc(level * 256));
      return increasing ? 256.0 - threshold : threshold;
    }
    case Operation::solarize_add:
      return std::min(128.0, std::trunc(level * 110));
    case Operation::color:
    case Operation::contrast:
    case Operation::brightness:
    case Operation::sharpness:
      return increasing ? std::max(0.1, 1.0 + either_way(level * 0.9)) : level * 1.8 + 0.1;
    case Operation::shear_x:
    case Operation::shear_y:
      return either_way(level * 0.3);
    case Operation::translate_x:
    case Operation::translate_y:
      return either_way(level * 0.45);
  }
  throw std::logic_error("RandAugment: unknown operation");
}

/// Reads the number of a section that begins with `key`.
template <class Number>
Number read_number(const std::string& section, const std::string& key, double minimum, double maximum) {
  Number value{};
  const char *begin = section.data() + key.size(), *end = section.data() + section.size();
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end)
    throw std::invalid_argument(fmt::format("'{}': '{}' needs {}, e.g. {}1", section, key,
                                            std::is_integral_v<Number> ? "a whole number" : "a number", key));
  const auto number = static_cast<double>(value);
  if (!(number >= minimum && number <= maximum))
    throw std::invalid_argument(std::isfinite(maximum) ? fmt::format("'{}': must be in {} … {}", section, minimum, maximum)
                                                       : fmt::format("'{}': must be at least {}", section, minimum));
  return value;
}

}  // namespace

Operation operation_from_name(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, operation] : operations()) {
    if (known == name) return operation;
    names.push_back(known);
  }
  throw std::invalid_argument(text::unknown("operation", name, names));
}

std::string to_string(Operation operation) {
  for (const auto& [name, known] : operations()) {
    if (known == operation) return name;
  }
  throw std::logic_error("RandAugment: unknown operation");
}

Rgb fill_color(const std::array<double, 3>& mean) {
  Rgb color;
  for (size_t c = 0; c < 3; ++c) color[c] = static_cast<uint8_t>(std::clamp(std::nearbyint(255 * mean[c]), 0.0, 255.0));
  return color;
}

RandAugment::RandAugment(const std::string& config, const Rgb& fill, std::optional<Filter> filter)
    : fill_(fill), filter_(filter) {
  const auto sections = text::split(config, '-');
  try {
    if (sections.empty() || sections[0] != "rand")
      throw std::invalid_argument("must begin with 'rand': RandAugment is the only policy here; e.g. rand-m9-mstd0.5-inc1");
    for (size_t i = 1; i < sections.size(); ++i) read_section(sections[i]);
    if (!weights_.empty() && count_ > static_cast<int64_t>(weights_.size()))
      throw std::invalid_argument(
          fmt::format("'n{}': 'tweights' chooses without replacement among {} operations", count_, weights_.size()));
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("RandAugment '{}': {}", config, error.what()));
  }
  if (operations_.empty()) {
    for (const auto& [name, operation] : operations()) operations_.push_back(operation);
  }
}

void RandAugment::read_section(const std::string& section) {
  constexpr double none = std::numeric_limits<double>::infinity();
  const std::string key = section.substr(0, section.find_first_of("0123456789.-+"));
  if (section == "tweights") {
    for (const auto& [operation, weight] : weighted_operations()) operations_.push_back(operation), weights_.push_back(weight);
    increasing_ = true;
  } else if (section.front() == 't') {
    throw std::invalid_argument(text::unknown("set of operations", section, {"tweights"}));
  } else if (key == "m") {
    magnitude_ = static_cast<double>(read_number<int64_t>(section, key, 0, none));
  } else if (key == "n") {
    count_ = read_number<int64_t>(section, key, 1, 100);
  } else if (key == "p") {
    probability_ = read_number<double>(section, key, 0, 1);
  } else if (key == "mstd") {
    magnitude_std_ = read_number<double>(section, key, 0, none);
    if (magnitude_std_ > 100.0) magnitude_std_ = none;
  } else if (key == "mmax") {
    magnitude_max_ = static_cast<double>(read_number<int64_t>(section, key, 1, none));
  } else if (key == "inc") {
    increasing_ = read_number<int64_t>(section, key, 0, 1) == 1 || !weights_.empty();
  } else {
    throw std::invalid_argument(
        text::unknown("section", key.empty() ? section : key, {"m", "n", "p", "mstd", "mmax", "inc", "tweights"}));
  }
}

/// Positions in `operations_`.
std::vector<size_t> RandAugment::choose(std::mt19937_64& generator) const {
  std::vector<size_t> chosen;
  std::vector<double> left = weights_;
  for (int64_t i = 0; i < count_; ++i) {
    if (left.empty()) {
      chosen.push_back(draw_below(generator, operations_.size()));
      continue;
    }
    double point = draw_uniform(generator, 0.0, std::accumulate(left.begin(), left.end(), 0.0));
    size_t at = 0;
    while (at + 1 < left.size() && (point >= left[at] || left[at] == 0.0)) point -= left[at++];
    while (left[at] == 0.0) --at;  // rounding led past the last one that is left
    chosen.push_back(at);
    left[at] = 0.0;
  }
  return chosen;
}

std::vector<RandAugment::Step> RandAugment::draw(std::mt19937_64& generator) const {
  std::vector<Step> steps;
  for (const size_t position : choose(generator)) {
    if (probability_ < 1.0 && draw_uniform(generator) > probability_) continue;
    double magnitude = magnitude_;
    if (std::isinf(magnitude_std_)) {
      magnitude = draw_uniform(generator, 0.0, magnitude_);
    } else if (magnitude_std_ > 0.0) {
      magnitude += magnitude_std_ * draw_normal(generator);
    }
    magnitude = std::clamp(magnitude, 0.0, magnitude_max_);
    const Operation operation = operations_[position];
    Step step{operation, argument_of(operation, magnitude, increasing_, generator), filter_.value_or(Filter::bilinear)};
    if (moves_pixels(operation) && !filter_ && draw_below(generator, 2) == 1) step.filter = Filter::bicubic;
    steps.push_back(step);
  }
  return steps;
}

Image RandAugment::apply(const Image& image, const Step& step) const {
  const double v = step.argument;
  const auto moved = [&](const std::array<double, 6>& matrix) { return affine(image, matrix, step.filter, fill_); };
  switch (step.operation) {
    case Operation::auto_contrast:
      return data::auto_contrast(image);
    case Operation::equalize:
      return data::equalize(image);
    case Operation::invert:
      return data::invert(image);
    case Operation::rotate:
      return data::rotate(image, v, step.filter, fill_);
    case Operation::posterize:
      return data::posterize(image, static_cast<int64_t>(v));
    case Operation::solarize:
      return data::solarize(image, static_cast<int64_t>(v));
    case Operation::solarize_add:
      return data::solarize_add(image, static_cast<int64_t>(v));
    case Operation::color:
      return adjust_color(image, v);
    case Operation::contrast:
      return adjust_contrast(image, v);
    case Operation::brightness:
      return adjust_brightness(image, v);
    case Operation::sharpness:
      return adjust_sharpness(image, v);
    case Operation::shear_x:
      return moved({1, v, 0, 0, 1, 0});
    case Operation::shear_y:
      return moved({1, 0, 0, v, 1, 0});
    case Operation::translate_x:
      return moved({1, 0, v * static_cast<double>(image.width), 0, 1, 0});
    case Operation::translate_y:
      return moved({1, 0, 0, 0, 1, v * static_cast<double>(image.height)});
  }
  throw std::logic_error("RandAugment: unknown operation");
}

Image RandAugment::operator()(Image image, std::mt19937_64& generator) const {
  for (const Step& step : draw(generator)) image = apply(image, step);
  return image;
}

}  // namespace respeft::data
