#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/formats/file.h>
#include <respeft/methods/method.h>
#include <respeft/runs/config.h>

namespace respeft::runs {
namespace {

/// The options of a method with their defaults; none for an empty name, which stands for a method to be chosen.
Fields options_of_method(const std::string& method) {
  return method.empty() ? Fields() : methods::find(method).options;
}

}  // namespace

TrainConfig read_config(const TomlDocument& document, TrainConfig config) {
  Fields fields = config.fields();
  const auto read = [&](const TomlEntry& entry, const auto& action) {
    try {
      action();
    } catch (const std::invalid_argument& error) {
      document.fail(entry, entry.name + ": " + error.what());
    }
  };
  for (const auto& entry : document.entries) {
    if (const Field* field = fields.find(entry.name)) read(entry, [&] { field->read(entry); });
  }
  const Fields options = options_of_method(config.method);  // known once all fields are read
  for (const auto& entry : document.entries) {
    if (fields.find(entry.name) != nullptr) continue;
    const Field* option = options.find(entry.name);
    if (option == nullptr) {
      auto known = fields.names();
      for (auto& name : options.names()) known.push_back(std::move(name));
      document.fail(entry, text::unknown("key", entry.name, known));
    }
    read(entry, [&] { config.method_options[entry.name] = option->parsed(entry); });
  }
  return config;
}

TrainConfig parse_config(const std::string& text, const std::string& origin, TrainConfig config) {
  return read_config(parse_toml(text, origin), std::move(config));
}

TrainConfig read_config(const std::string& path, TrainConfig defaults) {
  return parse_config(formats::read_file(path), path, std::move(defaults));
}

}  // namespace respeft::runs
