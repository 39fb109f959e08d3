#include "src/cli/help.h"

#include <fmt/format.h>

#include <sstream>

namespace respeft::cli {
namespace {

constexpr size_t kWidth = 100;  // columns of the whole help
constexpr size_t kColumn = 28;  // where descriptions begin

std::string left_side(const CLI::Option& option) {
  std::string text;
  if (option.get_positional()) return option.get_name(true) + (option.get_items_expected_max() > 1 ? "..." : "");
  for (const auto& name : option.get_snames()) text += "-" + name + ", ";
  text += "--" + option.get_lnames().front();
  const std::string type = option.get_type_name();
  return option.get_items_expected_max() > 0 && !type.empty() ? text + " " + type : text;
}

std::string option_line(const CLI::Option& option) {
  std::string text = "  " + left_side(option);
  text += text.size() + 1 < kColumn ? std::string(kColumn - text.size(), ' ') : "\n" + std::string(kColumn, ' ');
  std::string description = option.get_description();
  if (!option.get_default_str().empty()) description += " [" + option.get_default_str() + "]";
  return text + wrap(description, kWidth - kColumn, kColumn) + "\n";
}

}  // namespace

std::string wrap(const std::string& text, size_t width, size_t indent) {
  std::istringstream words(text);
  std::string word, line, result;
  while (words >> word) {
    if (!line.empty() && line.size() + 1 + word.size() > width) {
      result += line + "\n" + std::string(indent, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return result + line;
}

std::string HelpFormatter::make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const {
  std::string usage = app->get_name() + " [options]";
  const auto positionals = app->get_options([](const CLI::Option* option) { return option->get_positional(); });
  for (const auto* option : positionals) usage += " [" + left_side(*option) + "]";

  std::string text = wrap(app->get_description(), kWidth, 0) + "\n\nUsage: " + usage + "\n";
  auto groups = app->get_groups();
  // "General" holds what every command has; it was declared first and is read last.
  for (const bool general : {false, true}) {
    for (const auto& group : groups) {
      if ((group == "General") != general) continue;
      std::string lines;
      for (const auto* option : app->get_options([&](const CLI::Option* o) { return o->get_group() == group; })) {
        lines += option_line(*option);
      }
      if (!group.empty() && !lines.empty()) text += "\n" + group + ":\n" + lines;
    }
  }
  if (!app->get_footer().empty()) {
    text += "\nExamples:\n";
    std::istringstream examples(app->get_footer());
    for (std::string line; std::getline(examples, line);) text += "  " + line + "\n";
  }
  return text;
}

}  // namespace respeft::cli
