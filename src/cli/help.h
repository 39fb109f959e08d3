#pragma once

#include <CLI/App.hpp>
#include <CLI/FormatterFwd.hpp>

#include <string>

namespace respeft::cli {

/// Breaks `text` into lines of at most `width` columns; each line but the first starts with `indent` blanks.
std::string wrap(const std::string& text, size_t width, size_t indent);

/// The layout of a command's help: what it does, usage, flags by group, examples; at most 100 columns wide.
class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode mode) const override;
};

}  // namespace respeft::cli
