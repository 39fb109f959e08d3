#include <respeft/runs/recipe.h>

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>

namespace respeft::runs {
namespace {

namespace fs = std::filesystem;

std::string first_comment(const std::string& toml) {
  const std::string line = toml.substr(0, toml.find('\n'));
  const size_t text = line.find_first_not_of("# ");
  return line.starts_with('#') && text != std::string::npos ? line.substr(text) : "";
}

}  // namespace

std::string recipe_directory() {
  const fs::path wanted = fs::path("share") / "respeft" / "recipes";
  std::vector<fs::path> roots = {fs::read_symlink("/proc/self/exe").parent_path().parent_path()};
  Dl_info library{};
  if (::dladdr(reinterpret_cast<void*>(&recipe_directory), &library) != 0 && library.dli_fname != nullptr) {
    std::error_code none;
    const fs::path folder = fs::canonical(library.dli_fname, none).parent_path();
    roots.insert(roots.end(), {folder.parent_path(), folder.parent_path().parent_path()});  // lib/ or lib/ARCHITECTURE/
  }
  for (const auto& root : roots) {
    if (fs::is_directory(root / wanted)) return (root / wanted).string();
  }
  throw std::runtime_error(fmt::format("{}: the recipes that are installed with the library are not there",
                                       (roots.back() / wanted).lexically_normal().string()));
}

std::vector<Recipe> recipes_in(const std::string& given) {
  const std::string directory = given.empty() ? recipe_directory() : given;
  if (!fs::is_directory(directory)) throw std::runtime_error(directory + ": there is no such folder of recipes");
  std::vector<Recipe> recipes;
  for (const auto& entry : fs::recursive_directory_iterator(directory, fs::directory_options::follow_directory_symlink)) {
    if (entry.path().extension() != ".toml") continue;
    const std::string name = entry.path().lexically_relative(directory).replace_extension().generic_string();
    recipes.push_back({name, entry.path().string(), first_comment(formats::read_file(entry.path().string()))});
  }
  std::sort(recipes.begin(), recipes.end(), [](const Recipe& a, const Recipe& b) { return a.name < b.name; });
  return recipes;
}

Recipe find_recipe(const std::string& name, const std::string& directory) {
  if (name.ends_with(".toml")) {
    const std::string path = fs::absolute(name).lexically_normal().string();
    return {path, path, first_comment(formats::read_file(path))};
  }
  std::vector<std::string> known;
  for (const auto& recipe : recipes_in(directory)) {
    if (recipe.name == name) return recipe;
    known.push_back(recipe.name);
  }
  const std::string meant = text::nearest(name, known);
  throw std::invalid_argument(
      meant.empty() ? fmt::format("unknown recipe '{}'; 'respeft recipes' lists them, and a file ends in .toml", name)
                    : fmt::format("unknown recipe '{}'; did you mean '{}'?", name, meant));
}

TrainConfig apply_recipe(const Recipe& recipe, TrainConfig defaults) {
  defaults.recipe.clear();
  TrainConfig config = read_config(recipe.path, std::move(defaults));
  if (!config.recipe.empty())
    throw std::invalid_argument(
        fmt::format("{}: recipe: a recipe has no recipe of its own, and this one names '{}'; --config takes a "
                    "file that does",
                    recipe.path, config.recipe));
  config.recipe = recipe.name;
  return config;
}

}  // namespace respeft::runs
