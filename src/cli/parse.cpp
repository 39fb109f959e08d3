#include "src/cli/parse.h"

#include <fmt/format.h>

#include <CLI/Error.hpp>
#include <algorithm>
#include <stdexcept>

#include <respeft/core/fields.h>
#include <respeft/core/text.h>
#include <respeft/formats/file.h>

#include "src/cli/flags.h"
#include "src/cli/help.h"

namespace respeft::cli {
namespace {

/// The long flags of `app` without their dashes.
std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back(name);
  }
  return names;
}

bool is_switch(const CLI::Option& option) {
  return option.get_items_expected_max() == 0;
}

/// Whether an option's value is a file or a folder, by the placeholder in its help.
bool names_file(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const auto has = [&](const char* word) { return type.find(word) != std::string::npos; };
  return option.get_positional() || has("FILE") || has("DIR") || has("PATH") || has("FOLDER");
}

/// CLI11 takes `--flag=` as a flag whose value follows; here the value is empty.
std::vector<std::string> with_empty_values(const CLI::App& app, const std::vector<std::string>& arguments) {
  std::vector<std::string> all;
  for (const auto& argument : arguments) {
    const bool empty_value = argument.starts_with("--") && argument.size() > 3 && argument.find('=') == argument.size() - 1;
    const std::string flag = argument.substr(0, argument.size() - (empty_value ? 1 : 0));
    const CLI::Option* option = empty_value ? app.get_option_no_throw(flag) : nullptr;
    if (option == nullptr || is_switch(*option)) {
      all.push_back(argument);
    } else {
      all.insert(all.end(), {flag, ""});
    }
  }
  return all;
}

/// Without this, a shell variable that is not set would quietly mean another file, or none.
void refuse_lost_values(const CLI::App& app) {
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name(option->get_positional());
    for (const auto& value : option->results()) {
      if (value.empty() && names_file(*option))
        throw std::invalid_argument(name + ": its value is empty; is a shell variable not set?");
      if (value.starts_with("--") && app.get_option_no_throw(value) != nullptr)
        throw std::invalid_argument(fmt::format("{}: its value is missing: '{}' follows", name, value));
    }
  }
}

void refuse_extras(const CLI::App& app) {
  const auto extras = app.remaining();
  if (extras.empty()) return;
  const std::string word = extras[0].substr(0, extras[0].find('='));
  if (word.rfind("--", 0) != 0) {
    const char* const what = word.rfind('-', 0) == 0 ? "unknown option" : "unexpected argument";
    if (word == "true" || word == "false" || word == "on" || word == "off")
      throw std::invalid_argument(fmt::format("{0} '{1}'; a switch takes it after '=', as in --flip={1}", what, word));
    throw std::invalid_argument(fmt::format("{} '{}'; see {} --help", what, word, app.get_name()));
  }
  const std::string meant = text::nearest(word.substr(2), flag_names(app));
  throw std::invalid_argument(meant.empty() ? fmt::format("unknown option '{}'; see {} --help", word, app.get_name())
                                            : fmt::format("unknown option '{}'; did you mean '--{}'?", word, meant));
}

/// CLI11's errors about values, in this program's words.
std::invalid_argument reworded(const CLI::App& app, const CLI::ParseError& error) {
  const std::string message = error.what();
  const std::string conversion = "Could not convert: ";  // followed by "--flag = value"
  if (message.rfind(conversion, 0) == 0) {
    const size_t equals = message.find(" = ");
    const std::string flag = message.substr(conversion.size(), equals - conversion.size());
    const CLI::Option* option = app.get_option_no_throw(flag);
    const bool number = option != nullptr && option->get_type_name() == "X";
    const bool on_or_off = option != nullptr && is_switch(*option);
    const char* const expected = on_or_off ? "true or false" : number ? "a number" : "a whole number";
    return std::invalid_argument(fmt::format("{}: must be {}, not '{}'", flag, expected, message.substr(equals + 3)));
  }
  const std::string flag = message.substr(0, message.find(':'));
  if (message.find(" missing") != std::string::npos) return std::invalid_argument(flag + ": its value is missing");
  if (message.find("At Most 1") != std::string::npos) return std::invalid_argument(flag + ": given more than once");
  return std::invalid_argument(message);
}

/// The option that a file's entry sets.
CLI::Option& option_of(CLI::App& app, const TomlDocument& file, const TomlEntry& entry) {
  const std::string flag = flag_name(entry.name);
  CLI::Option* option = app.get_option_no_throw(flag);
  if (option == nullptr || flag == "--config" || flag == "--help") {
    auto keys = flag_names(app);
    for (auto& key : keys) std::replace(key.begin(), key.end(), '-', '_');
    file.fail(entry, text::unknown("key", entry.name, keys));
  }
  return *option;
}

/// An entry's values as the option takes them from the command line.
std::vector<std::string> values_of(const TomlEntry& entry, const CLI::Option& option) {
  if (entry.kind == TomlEntry::Kind::other)
    throw std::invalid_argument("must be a text in quotes, a number, true or false, or a list of these");
  if (is_switch(option)) return {parse_bool(entry.text()) ? "true" : "false"};
  return option.get_items_expected_max() == 1 ? std::vector<std::string>{entry.text()} : entry.values;
}

/// Gives the file's values to all options that the command line left open.
void apply(CLI::App& app, const TomlDocument& file) {
  for (const auto& entry : file.entries) {
    CLI::Option& option = option_of(app, file, entry);
    try {
      const auto values = values_of(entry, option);
      if (option.count() > 0) continue;
      option.add_result(values);
      option.run_callback();
    } catch (const CLI::ParseError& error) {
      file.fail(entry, reworded(app, error).what());
    } catch (const std::invalid_argument& error) {
      file.fail(entry, fmt::format("{}: {}", entry.name, error.what()));
    }
  }
}

TomlDocument read_config(const std::string& path) {
  std::string text;
  try {
    text = formats::read_file(path);
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(error.what());
  }
  return parse_toml(text, path);
}

}  // namespace

void prepare(CLI::App& app, const std::string& examples) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "show this help and do nothing else")->group("General");
  app.footer(examples);
  app.option_defaults()->group("Options");
  app.allow_extras();
}

std::optional<TomlDocument> parse(CLI::App& app, std::vector<std::string> arguments) {
  const bool help = std::any_of(arguments.begin(), arguments.end(), [](auto& a) { return a == "-h" || a == "--help"; });
  if (help) return std::nullopt;
  arguments = with_empty_values(app, arguments);
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    throw reworded(app, error);
  }
  refuse_lost_values(app);
  refuse_extras(app);
  const auto path = app.get_option("--config")->results();
  if (path.empty()) return TomlDocument();
  auto file = read_config(path[0]);
  apply(app, file);
  return file;
}

}  // namespace respeft::cli
