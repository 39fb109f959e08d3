#pragma once

#include <string>

namespace respeft::cli {

/// Where the program's recipes are: `share/respeft/recipes` beside its `bin`. Throws `std::runtime_error` if they are not there.
std::string recipe_directory();

}  // namespace respeft::cli
