#include "src/cli/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/data/image/options.h>
#include <respeft/methods/method.h>

namespace respeft::cli {
namespace {

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& entry : methods::registry()) names.push_back(entry.name);
  return names;
}

/// What the help says of an option that one or several methods have.
struct OptionHelp {
  const Field* option;                                                     // the first method's
  std::vector<std::pair<std::string, std::vector<std::string>>> defaults;  // default -> methods
};

std::vector<OptionHelp> options_of_all_methods() {
  std::vector<OptionHelp> all;
  for (const auto& entry : methods::registry()) {
    for (const auto& option : entry.options) {
      const auto same_name = [&](const auto& known) { return known.option->info.name == option.info.name; };
      auto found = std::find_if(all.begin(), all.end(), same_name);
      if (found == all.end()) found = all.insert(all.end(), {&option, {}});
      auto& defaults = found->defaults;
      const std::string value = option.text();
      auto same = std::find_if(defaults.begin(), defaults.end(), [&](const auto& known) { return known.first == value; });
      if (same == defaults.end()) same = defaults.insert(defaults.end(), {value, {}});
      same->second.push_back(entry.name);
    }
  }
  return all;
}

std::string description_of(const OptionHelp& help) {
  std::vector<std::string> parts;
  for (const auto& [value, methods] : help.defaults) {
    parts.push_back(text::join(methods, ", ") + (value.empty() ? "" : ": " + value));
  }
  return fmt::format("{} [{}]", help.option->info.help, text::join(parts, "; "));
}

}  // namespace

std::string flag_name(const std::string& option) {
  std::string flag = "--" + option;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

CLI::Option* declare_value(CLI::App& app, const Field& field, TakeText take) {
  return app.add_option_function<std::string>(flag_name(field.info.name), std::move(take), field.info.help)
      ->type_name(field.placeholder())
      ->group(field.info.group);
}

CLI::Option* declare_switch(CLI::App& app, const Field& field, TakeText take) {
  const auto last = [take = std::move(take)](const CLI::results_t& given) {
    take(given.back());
    return true;
  };
  return app.add_option(flag_name(field.info.name), last, field.info.help)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->expected(0)
      ->group(field.info.group);
}

void set_from_flag(Fields& fields, const std::string& name, const std::string& text) {
  const Field& field = fields.at(name);
  try {
    field.set(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(flag_name(name) + ": " + error.what());
  }
}

OptionValue parse_flag(const Field& field, const std::string& text) {
  try {
    return field.parsed(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(flag_name(field.info.name) + ": " + error.what());
  }
}

void MethodFlags::declare(CLI::App& app, const std::string& default_name, const std::string& group) {
  name = default_name;
  auto* method = app.add_option("--method", name, "how to fine-tune: " + text::join(method_names(), ", "))->type_name("NAME");
  method->group(group);
  if (!default_name.empty()) method->default_str(default_name);
  for (const auto& help : options_of_all_methods()) {
    const auto keep = [this, name = help.option->info.name](const std::string& text) { values[name] = text; };
    declare_value(app, *help.option, keep)->description(description_of(help))->group(group);
  }
}

Options MethodFlags::options(const std::string& method) const {
  const auto& entry = methods::find(method);
  Options options;
  for (const auto& [option, text] : values) {
    const Field* field = entry.options.find(option);
    if (field == nullptr) {
      std::vector<std::string> flags;
      for (const auto& known : entry.options.names()) flags.push_back(flag_name(known));
      throw std::invalid_argument(fmt::format("method {} has no option {}; {}", method, flag_name(option),
                                              flags.empty() ? "it has none" : "it has " + text::join(flags, ", ")));
    }
    options[option] = parse_flag(*field, text);
  }
  return options;
}

void PreprocessingFlags::declare(CLI::App& app) {
  data::ImageOptions defaults;
  const Fields fields = defaults.fields();
  for (const char* name : {"mean", "std", "interpolation", "resize_size", "resize_mode"}) {
    const auto keep = [this, name](const std::string& text) { values[name] = text; };
    declare_value(app, fields.at(name), keep)->group("Preprocessing (where the files do not say)");
  }
}

data::Preprocessing PreprocessingFlags::apply(data::Preprocessing files) const {
  data::ImageOptions options;
  options.mean = files.mean;
  options.std = files.std;
  options.interpolation = files.interpolation;
  options.resize_size = files.resize_size;
  options.resize_mode = files.resize_mode;
  Fields fields = options.fields();
  for (const auto& [name, text] : values) set_from_flag(fields, name, text);
  return {options.mean, options.std, files.size, options.interpolation, options.resize_size, options.resize_mode};
}

void ModelFlags::declare(CLI::App& app, bool with_torchscript) {
  const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
    app.add_option(flag, value, help)->type_name(type)->group("Model");
  };
  add("--run", run, "DIR", "a run: its configuration and adapter");
  if (with_torchscript) add("--torchscript", torchscript, "FILE", "an exported TorchScript file");
  add("--model", model, "NAME", "timm's name of the architecture, e.g. vit_base_patch16_224; default: from the adapter file");
  add("--weights", weights, "FILE",
      "the base's weights: safetensors, .npz, .pth, .bin, an index of shards or a folder; timm's, Hugging Face's, torchvision's, "
      "Google's or DINOv2's names");
  add("--state-dict", state_dict, "KEY", kStateDictHelp);
  add("--adapter", adapter, "FILE", "an adapter file, or a folder of Hugging Face PEFT");
  app.add_flag("--any-base", any_base, "accept an adapter that was trained on other weights")->group("Model");
  add("--image-size", image_size, "N", "pixels per side of the input; default: from the files, otherwise from the model's name");
  add("--pool", pool, "NAME", "input of the head: token (class token) or avg (mean over patches)");
  add("--num-classes", num_classes, "N", "classes of a new head, if no file holds one");
  method.declare(app, "", "Method (for an adapter file without metadata)");
}

}  // namespace respeft::cli
