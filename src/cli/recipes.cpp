#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include <respeft/formats/file.h>
#include <respeft/runs/recipe.h>

#include "src/cli/command.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

/// `recipes`: lists the recipes, or prints one.
class RecipesCommand : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("recipe", name_, "print this recipe, a TOML file to use as it is or to start your own from")
        ->type_name("NAME");
  }

  int run() override {
    while (name_.size() > 1 && name_.ends_with('/')) name_.pop_back();
    const auto chosen = collection();
    if (chosen.empty()) {
      print_recipe(runs::find_recipe(name_));
    } else {
      list(chosen);
    }
    return kDone;
  }

 private:
  /// The recipes in a part of the collection, e.g. `rlrr` or `rlrr/vtab`; all without a name.
  std::vector<runs::Recipe> collection() const {
    auto recipes = runs::recipes_in();
    std::erase_if(recipes, [&](const auto& recipe) { return !name_.empty() && !recipe.name.starts_with(name_ + "/"); });
    return recipes;
  }

  void print_recipe(const runs::Recipe& recipe) const {
    if (json()) {
      nlohmann::ordered_json settings;
      for (const auto& [name, value] : runs::describe(runs::apply_recipe(recipe))) settings[name] = value;
      print_json({{"recipe", recipe.name}, {"summary", recipe.summary}, {"file", recipe.path}, {"settings", settings}});
    } else {
      print(formats::read_file(recipe.path));
    }
  }

  void list(const std::vector<runs::Recipe>& recipes) const {
    Table table({"recipe", "settings of"});
    nlohmann::json document = nlohmann::json::array();
    for (const auto& recipe : recipes) {
      table.add({recipe.name, recipe.summary});
      document.push_back({{"recipe", recipe.name}, {"summary", recipe.summary}, {"file", recipe.path}});
    }
    json() ? print_json(document) : print(table.text());
  }

  std::string name_;
};

}  // namespace

std::unique_ptr<Command> make_recipes() {
  return std::make_unique<RecipesCommand>();
}

}  // namespace respeft::cli
