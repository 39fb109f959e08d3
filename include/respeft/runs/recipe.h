#pragma once

#include <string>
#include <vector>

#include <respeft/runs/config.h>

namespace respeft::runs {

/// The settings that a paper trained a dataset with: a TOML file of `TrainConfig`'s fields and the method's options. The
/// program's are installed in `share/respeft/recipes`, as `PAPER/BENCHMARK/DATASET.toml`.
struct Recipe {
  std::string name;  ///< e.g. `rlrr/vtab/cifar`; of a file that is no part of a collection, its absolute path
  std::string path;
  std::string summary;  ///< the file's first line, a comment
};

/// The folder of the recipes that are installed with this library: `share/respeft/recipes` next to or above the folder of the
/// library, or of the program that uses it. Throws `std::runtime_error` if it is in neither place.
std::string recipe_directory();

/// The recipes of a collection, by name; `directory` empty: `recipe_directory()`. Throws `std::runtime_error` if it is no folder.
std::vector<Recipe> recipes_in(const std::string& directory = "");

/// The recipe of this name in `directory`, or the file of this path (if it ends in `.toml`). Throws `std::invalid_argument`
/// that suggests a similar name, `std::runtime_error` if the file cannot be read.
Recipe find_recipe(const std::string& name, const std::string& directory = "");

/// The recipe's settings over `defaults`, and its name in `recipe`. Throws `std::invalid_argument` if the file itself names a
/// recipe; other errors as `read_config`.
TrainConfig apply_recipe(const Recipe& recipe, TrainConfig defaults = {});

}  // namespace respeft::runs
