#pragma once

#include <CLI/App.hpp>

#include <optional>
#include <string>
#include <vector>

#include <respeft/core/toml.h>

namespace respeft::cli {

/// Gives `app` this program's help layout and its errors for unknown flags.
void prepare(CLI::App& app, const std::string& examples);

/// Reads `arguments` and the file given with `--config` into the flags that were declared in `app`; arguments win.
/// Returns the file, without entries where none was given, or nothing if help was asked for.
/// Throws `std::invalid_argument` or `CLI::ParseError` on anything wrong, with a suggestion for unknown names.
std::optional<TomlDocument> parse(CLI::App& app, std::vector<std::string> arguments);

}  // namespace respeft::cli
