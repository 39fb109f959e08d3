#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/runs/evaluate.h>

#include "src/cli/command.h"
#include "src/cli/datasets.h"
#include "src/cli/loading.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

class Eval : public Command {
 public:
  void declare(CLI::App& app) override {
    data_.declare(app, "--limit", "measure on N images drawn evenly from the classes; default: all");
    app.add_option("--batch-size", batch_size_, "images per forward pass")->type_name("B")->default_str("32")->group("Data");
    app.add_flag("--per-class", per_class_, "also print the accuracy of each class")->group("Data");
    model_.declare(app, /*with_torchscript=*/true);
    preprocessing_.declare(app);
  }

  int run() override {
    if (batch_size_ < 1) throw std::invalid_argument("--batch-size: must be at least 1");
    data_.check();
    const runs::LoadedRun model = load_model(model_, preprocessing_);
    const auto dataset = data_.open(model);
    const InterruptGuard guard;
    Progress progress("evaluating", dataset->size(), "images");
    const auto show = [&](int64_t images, double accuracy) { progress.update(images, "accuracy " + percent(accuracy)); };
    const auto figures = runs::evaluate(
        model, dataset, {.batch_size = batch_size_, .workers = data_.workers, .progress = show, .stop = &InterruptGuard::flag()});
    json() ? print_json(document(figures)) : print_text(figures);
    return kDone;
  }

 private:
  nlohmann::json document(const runs::Figures& figures) const {
    nlohmann::json document = {
        {"accuracy", figures.accuracy()}, {"loss", figures.loss}, {"images", figures.images}, {"seconds", figures.seconds},
        {"images_per_second", nullptr},   {"split", data_.split}, {"data", figures.data}};
    if (figures.images_per_second) document["images_per_second"] = *figures.images_per_second;
    if (!per_class_) return document;
    auto& classes = document["classes"] = nlohmann::json::array();
    for (const auto& one : figures.classes) {
      classes.push_back(
          {{"class", one.name}, {"images", one.images}, {"correct", one.correct}, {"accuracy", one.accuracy().value_or(0.0)}});
    }
    return document;
  }

  void print_text(const runs::Figures& figures) const {
    const std::string rate = figures.images_per_second ? fmt::format(" ({:.1f} images/s)", *figures.images_per_second) : "";
    print(key_values({{"data", figures.data},
                      {"images", count(figures.images)},
                      {"accuracy", percent(figures.accuracy())},
                      {"loss", fmt::format("{:.4f}", figures.loss)},
                      {"time", seconds(figures.seconds) + rate}}));
    if (!per_class_) return;
    Table table({"class", "images", "correct", "accuracy"});
    for (const auto& one : figures.classes) {
      table.add({one.name, count(one.images), count(one.correct), one.accuracy() ? percent(*one.accuracy()) : "–"});
    }
    print("\n" + table.text());
  }

  int64_t batch_size_ = 32;
  bool per_class_ = false;
  DataFlags data_;
  ModelFlags model_;
  PreprocessingFlags preprocessing_;
};

}  // namespace

std::unique_ptr<Command> make_eval() {
  return std::make_unique<Eval>();
}

}  // namespace respeft::cli
