#include "src/cli/recipes.h"

#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/io/file.h>
#include <respeft/train/recipe.h>

#include "src/cli/command.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

/// `recipes`: lists the recipes, or prints one.
class RecipesCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("recipe", name_, "print this one: a TOML file, to be used as it is or as a start of your own")
        ->type_name("NAME");
  }

  int run() override {
    if (!name_.empty() && !is_folder()) {
      print_recipe(train::find_recipe(name_, recipe_directory()));
    } else {
      list();
    }
    return kDone;
  }

 private:
  /// Whether the name is a part of a collection, e.g. `rlrr` or `rlrr/vtab`.
  bool is_folder() const { return std::filesystem::is_directory(std::filesystem::path(recipe_directory()) / name_); }

  void print_recipe(const train::Recipe& recipe) const {
    if (json()) {
      nlohmann::ordered_json settings;
      for (const auto& [name, value] : train::describe(train::apply_recipe(recipe))) settings[name] = value;
      print_json({{"recipe", recipe.name}, {"summary", recipe.summary}, {"file", recipe.path}, {"settings", settings}});
    } else {
      print(io::read_file(recipe.path));
    }
  }

  void list() const {
    Table table({"recipe", "settings of"});
    nlohmann::json document = nlohmann::json::array();
    for (const auto& recipe : train::recipes_in(recipe_directory())) {
      if (!name_.empty() && !recipe.name.starts_with(name_ + "/")) continue;
      table.add({recipe.name, recipe.summary});
      document.push_back({{"recipe", recipe.name}, {"summary", recipe.summary}, {"file", recipe.path}});
    }
    json() ? print_json(document) : print(table.text());
  }

  std::string name_;
};

}  // namespace

std::string recipe_directory() {
  namespace fs = std::filesystem;
  const fs::path program = fs::read_symlink("/proc/self/exe");
  const fs::path recipes = program.parent_path().parent_path() / "share" / "respeft" / "recipes";
  if (!fs::is_directory(recipes))
    throw std::runtime_error(fmt::format("{}: the recipes that are installed with the program are not there", recipes.string()));
  return recipes.string();
}

std::unique_ptr<Command> make_recipes() {
  return std::make_unique<RecipesCommand>();
}

}  // namespace respeft::cli
