#pragma once

#include <CLI/App.hpp>

#include <string>
#include <vector>

namespace respeft::cli {

/// Gives `app` this program's help layout and behavior on what it does not know.
void prepare(CLI::App& app, const std::string& examples);

/// Reads `arguments` and the `--config` file into what was declared in `app`. Returns false if help was asked for.
/// Throws `std::invalid_argument` or `CLI::ParseError` on anything wrong, suggesting what may have been meant.
bool parse(CLI::App& app, std::vector<std::string> arguments);

}  // namespace respeft::cli
