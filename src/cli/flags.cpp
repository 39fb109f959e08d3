#include "src/cli/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <stdexcept>

#include <respeft/methods/method.h>

#include <respeft/core/text.h>

namespace respeft::cli {
namespace {

std::invalid_argument bad_value(const std::string& flag, const std::string& text, const std::string& expected) {
  return std::invalid_argument(fmt::format("{}: expected {}, not '{}'", flag, expected, text));
}

template <class Number>
Number parse_number(const std::string& flag, const std::string& text, const std::string& expected) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) throw bad_value(flag, text, expected);
  return number;
}

const char* placeholder(const OptionValue& like) {
  if (std::holds_alternative<bool>(like)) return "on|off";
  if (std::holds_alternative<int64_t>(like)) return "N";
  return std::holds_alternative<double>(like) ? "X" : "TEXT";
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& entry : methods::registry()) names.push_back(entry.name);
  return names;
}

/// What the help says of an option that one or several methods have.
struct OptionHelp {
  std::string text;
  const char* placeholder;
  std::vector<std::pair<std::string, std::vector<std::string>>> defaults;  // default -> methods
};

std::vector<std::pair<std::string, OptionHelp>> options_of_all_methods() {
  std::vector<std::pair<std::string, OptionHelp>> all;
  for (const auto& entry : methods::registry()) {
    for (const auto& option : entry.options) {
      auto found = std::find_if(all.begin(), all.end(), [&](const auto& known) { return known.first == option.name; });
      if (found == all.end()) found = all.insert(all.end(), {option.name, {option.help, placeholder(option.default_value), {}}});
      auto& defaults = found->second.defaults;
      const std::string value = value_text(option.default_value);
      auto same = std::find_if(defaults.begin(), defaults.end(), [&](const auto& known) { return known.first == value; });
      if (same == defaults.end()) same = defaults.insert(defaults.end(), {value, {}});
      same->second.push_back(entry.name);
    }
  }
  return all;
}

std::string describe(const OptionHelp& help) {
  std::vector<std::string> parts;
  for (const auto& [value, methods] : help.defaults) {
    parts.push_back(text::join(methods, ", ") + (value.empty() ? "" : ": " + value));
  }
  return fmt::format("{} [{}]", help.text, text::join(parts, "; "));
}

}  // namespace

std::string value_text(const OptionValue& value) {
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "on" : "off";
  return to_string(value);
}

std::string flag_name(const std::string& option) {
  std::string flag = "--" + option;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

OptionValue parse_value(const std::string& flag, const std::string& text, const OptionValue& like) {
  if (std::holds_alternative<bool>(like)) {
    if (text == "true" || text == "on" || text == "yes" || text == "1") return true;
    if (text == "false" || text == "off" || text == "no" || text == "0") return false;
    throw bad_value(flag, text, "on or off");
  }
  if (std::holds_alternative<int64_t>(like)) return parse_number<int64_t>(flag, text, "a whole number");
  if (std::holds_alternative<double>(like)) return parse_number<double>(flag, text, "a number");
  return text;
}

void MethodFlags::declare(CLI::App& app, const std::string& default_name, const std::string& group) {
  name = default_name;
  auto* method = app.add_option("--method", name, "how to fine-tune: " + text::join(method_names(), ", "))->type_name("NAME");
  method->group(group);
  if (!default_name.empty()) method->default_str(default_name);
  for (const auto& [option, help] : options_of_all_methods()) {
    const auto keep = [this, key = option](const std::string& text) { values[key] = text; };
    app.add_option_function<std::string>(flag_name(option), keep, describe(help))->type_name(help.placeholder)->group(group);
  }
}

Options MethodFlags::options(const std::string& method) const {
  const auto& entry = methods::find(method);
  Options options;
  for (const auto& [option, text] : values) {
    const auto info = std::ranges::find(entry.options, option, &OptionInfo::name);
    if (info == entry.options.end()) {
      std::vector<std::string> flags;
      for (const auto& known : entry.options) flags.push_back(flag_name(known.name));
      throw std::invalid_argument(fmt::format("method {} has no option {}; {}", method, flag_name(option),
                                              flags.empty() ? "it has none" : "it has " + text::join(flags, ", ")));
    }
    options[option] = parse_value(flag_name(option), text, info->default_value);
  }
  return options;
}

void PreprocessingFlags::declare(CLI::App& app) {
  const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
    app.add_option(flag, value, help)->type_name(type)->group("Preprocessing (where the files do not say)");
  };
  add("--mean", mean, "R,G,B", "mean of each channel, of values in 0…1; or imagenet, or half");
  add("--std", std, "R,G,B", "standard deviation of each channel, likewise");
  add("--interpolation", interpolation, "NAME", "how images are resized: bicubic or bilinear, antialiased");
  add("--resize-size", resize_size, "N", "pixels that images are resized to before the middle is cut out; 0: the image size");
  add("--resize-mode", resize_mode, "NAME", "squash: to a square; shortest: the shorter side, aspect kept");
}

data::Preprocessing PreprocessingFlags::apply(data::Preprocessing files) const {
  const auto channels = [](const std::string& flag, const std::string& text, const std::array<double, 3>& imagenet) {
    if (text == "imagenet") return imagenet;
    if (text == "half") return std::array<double, 3>{0.5, 0.5, 0.5};
    const auto entries = text::split(text, ',');
    if (entries.size() != 3) throw bad_value(flag, text, "three numbers R,G,B, or imagenet, or half");
    std::array<double, 3> numbers{};
    for (size_t i = 0; i < 3; ++i)
      numbers[i] = parse_number<double>(flag, entries[i], "three numbers R,G,B, or imagenet, or half");
    return numbers;
  };
  if (!mean.empty()) files.mean = channels("--mean", mean, {0.485, 0.456, 0.406});
  if (!std.empty()) files.std = channels("--std", std, {0.229, 0.224, 0.225});
  if (std::any_of(files.std.begin(), files.std.end(), [](double value) { return !(value > 0) || !std::isfinite(value); })) {
    throw bad_value("--std", std, "numbers above zero");
  }
  const auto choose = [](std::string& chosen, const std::string& flag, const std::string& text,
                         std::vector<std::string> choices) {
    if (text.empty()) return;
    if (std::find(choices.begin(), choices.end(), text) == choices.end())
      throw std::invalid_argument(flag + ": " + text::unknown("value", text, choices));
    chosen = text;
  };
  choose(files.interpolation, "--interpolation", interpolation, {"bicubic", "bilinear"});
  choose(files.resize_mode, "--resize-mode", resize_mode, {"squash", "shortest"});
  if (resize_size) files.resize_size = *resize_size;
  if (files.resize_size < 0)
    throw std::invalid_argument(fmt::format("--resize-size: must be at least 0, not {}", files.resize_size));
  return files;
}

void ModelFlags::declare(CLI::App& app, bool with_torchscript) {
  const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
    app.add_option(flag, value, help)->type_name(type)->group("Model");
  };
  add("--run", run, "DIR", "A finished run: its configuration and adapter");
  if (with_torchscript) add("--torchscript", torchscript, "FILE", "an exported TorchScript file");
  add("--model", model, "NAME", "architecture by timm's name, e.g. vit_base_patch16_224; an adapter file says it itself");
  add("--weights", weights, "FILE",
      "the base's weights: safetensors, .npz, .pth, .bin, an index of shards or a folder; timm's, Hugging Face's, Google's or "
      "DINOv2's names");
  add("--adapter", adapter, "FILE", "what was trained on that base; or a folder in the layout of Hugging Face PEFT");
  app.add_flag("--any-base", any_base, "accept an adapter that was trained on other weights")->group("Model");
  add("--image-size", image_size, "N", "pixels a side; default: what the files say, else what the model's name says");
  add("--pool", pool, "NAME", "what the head reads: token (class token) or avg (mean over patches)");
  add("--num-classes", num_classes, "N", "classes of a fresh head, where no file holds a head");
  method.declare(app, "", "Method (for an adapter file without metadata)");
}

}  // namespace respeft::cli
