#include "src/cli/parse.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <CLI/Config.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "src/cli/help.h"
#include <respeft/core/text.h>

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

std::string value_text(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* integer = node.as_integer()) return std::to_string(integer->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  return {};
}

/// Reads a TOML file whose keys are the names of flags. A table only groups keys; its name has no meaning.
class TomlConfig : public CLI::Config {
 public:
  explicit TomlConfig(const CLI::App& app) : app_(app) {}

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }

  std::vector<CLI::ConfigItem> from_config(std::istream& stream) const override {
    const std::string path = app_.get_config_ptr()->as<std::string>();
    std::vector<CLI::ConfigItem> found;
    try {
      add(toml::parse(stream, path), path, found);
    } catch (const toml::parse_error& error) {
      throw std::invalid_argument(fmt::format("{}:{}: {}", path, error.source().begin.line, error.description()));
    }
    return found;
  }

 private:
  void add(const toml::table& table, const std::string& path, std::vector<CLI::ConfigItem>& found) const {
    for (const auto& [key, node] : table) {
      if (const auto* inner = node.as_table()) {
        add(*inner, path, found);
        continue;
      }
      CLI::ConfigItem item;
      item.name = key.str();
      std::replace(item.name.begin(), item.name.end(), '_', '-');
      const CLI::Option* option = app_.get_option_no_throw("--" + item.name);
      if (option == nullptr || item.name == "config" || item.name == "help") {
        throw std::invalid_argument(fmt::format("{}:{}: {}", path, node.source().begin.line,
                                                text::unknown("key", std::string(key.str()), flag_names(app_))));
      }
      item.inputs = values(node, *option, path);
      found.push_back(std::move(item));
    }
  }

  static std::vector<std::string> values(const toml::node& node, const CLI::Option& option, const std::string& path) {
    std::vector<std::string> texts;
    if (const auto* array = node.as_array()) {
      for (const auto& element : *array) texts.push_back(value_text(element));
      if (option.get_items_expected_max() == 1) texts = {text::join(texts, ",")};
    } else {
      texts.push_back(value_text(node));
    }
    if (option.get_items_expected_max() == 0 && texts != std::vector<std::string>{"true"} &&
        texts != std::vector<std::string>{"false"}) {
      throw std::invalid_argument(fmt::format("{}: {} is true or false, not '{}'", path, option.get_single_name(), texts[0]));
    }
    return texts;
  }

  const CLI::App& app_;
};

/// CLI11 opens the file itself and has one message for everything; say why it cannot be read.
void check_config_readable(const std::vector<std::string>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    std::string path;
    if (arguments[i] == "--config" && i + 1 < arguments.size()) path = arguments[i + 1];
    if (arguments[i].rfind("--config=", 0) == 0) path = arguments[i].substr(9);
    if (path.empty()) continue;
    std::ifstream file(path);
    file.peek();
    if (!file.good() && !file.eof()) throw std::invalid_argument(fmt::format("{}: {}", path, std::strerror(errno)));
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
    const char* const expected = number ? "a number" : "a whole number";
    return std::invalid_argument(fmt::format("{}: expected {}, not '{}'", flag, expected, message.substr(equals + 3)));
  }
  const std::string flag = message.substr(0, message.find(':'));
  if (message.find(" missing") != std::string::npos) return std::invalid_argument(flag + ": its value is missing");
  if (message.find("At Most 1") != std::string::npos) return std::invalid_argument(flag + ": given more than once");
  return std::invalid_argument(message);
}

}  // namespace

void prepare(CLI::App& app, const std::string& examples) {
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "show this help and do nothing else")->group("General");
  app.footer(examples);
  app.option_defaults()->group("Options");
  app.allow_extras();
  app.config_formatter(std::make_shared<TomlConfig>(app));
}

bool parse(CLI::App& app, std::vector<std::string> arguments) {
  const bool help = std::any_of(arguments.begin(), arguments.end(), [](auto& a) { return a == "-h" || a == "--help"; });
  if (help) return false;
  check_config_readable(arguments);
  std::reverse(arguments.begin(), arguments.end());
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    throw reworded(app, error);
  }
  refuse_extras(app);
  return true;
}

}  // namespace respeft::cli
