#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/data/image/loader.h>

#include "src/cli/command.h"
#include "src/cli/datasets.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

/// Sums over the images seen so far.
struct Totals {
  int64_t images = 0, correct = 0;
  double loss = 0;
  std::vector<int64_t> class_images, class_correct;

  void add(const at::Tensor& logits, const at::Tensor& labels) {
    if (logits.size(1) != static_cast<int64_t>(class_images.size())) {
      throw std::invalid_argument(
          fmt::format("the model has {} classes, but the data have {}", logits.size(1), class_images.size()));
    }
    loss += at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).item<double>();
    const at::Tensor right = logits.argmax(1) == labels;
    for (int64_t i = 0; i < labels.size(0); ++i) {
      const auto label = static_cast<size_t>(labels[i].item<int64_t>());
      ++class_images[label];
      class_correct[label] += right[i].item<bool>();
    }
    correct += right.sum().item<int64_t>();
    images += labels.size(0);
  }
  double accuracy() const { return static_cast<double>(correct) / static_cast<double>(images); }
  double class_accuracy(size_t c) const {
    return class_images[c] == 0 ? 0.0 : static_cast<double>(class_correct[c]) / static_cast<double>(class_images[c]);
  }
};

class Eval : public Command {
 public:
  void declare(CLI::App& app) override {
    data_.declare(app, "--limit", "only the first N images");
    app.add_option("--batch-size", batch_size_, "images computed at once")->type_name("B")->default_str("32")->group("Data");
    app.add_flag("--per-class", per_class_, "print each class's accuracy too")->group("Data");
    model_.declare(app, /*with_torchscript=*/true);
    preprocessing_.declare(app);
  }

  int run() override {
    if (batch_size_ < 1) throw std::invalid_argument("--batch-size: must be at least 1");
    const LoadedModel model = load_model(model_, preprocessing_);
    const auto dataset = data_.open(model);
    Totals totals;
    totals.class_images.resize(dataset->class_names().size());
    totals.class_correct.resize(dataset->class_names().size());
    const double duration = measure(model, dataset, totals);
    if (totals.images == 0) throw std::runtime_error(dataset->description() + ": no images");
    if (json()) {
      print_json(document(*dataset, totals, duration));
    } else {
      print_text(*dataset, totals, duration);
    }
    return kDone;
  }

 private:
  double measure(const LoadedModel& model, const data::DatasetPtr& dataset, Totals& totals) const {
    const auto start = std::chrono::steady_clock::now();
    data::Loader loader(dataset, data::Transform(model.preprocessing), data::sequential_order(dataset->size()),
                        {.batch_size = batch_size_, .workers = data_.workers});
    Progress progress("evaluating", dataset->size(), "images");
    while (const auto batch = loader.next()) {
      totals.add(model.forward(batch->images).to(at::kFloat), batch->labels);
      progress.advance(batch->labels.size(0), "accuracy " + percent(totals.accuracy()));
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  nlohmann::json document(const data::Dataset& dataset, const Totals& totals, double duration) const {
    const auto images = static_cast<double>(totals.images);
    nlohmann::json document = {
        {"accuracy", totals.accuracy()}, {"loss", totals.loss / images},           {"images", totals.images},
        {"seconds", duration},           {"images_per_second", images / duration}, {"split", data_.split},
        {"data", dataset.description()}};
    if (!per_class_) return document;
    auto& classes = document["classes"] = nlohmann::json::array();
    for (size_t c = 0; c < totals.class_images.size(); ++c) {
      classes.push_back({{"class", dataset.class_names()[c]},
                         {"images", totals.class_images[c]},
                         {"correct", totals.class_correct[c]},
                         {"accuracy", totals.class_accuracy(c)}});
    }
    return document;
  }

  void print_text(const data::Dataset& dataset, const Totals& totals, double duration) const {
    const auto images = static_cast<double>(totals.images);
    print(key_values({{"data", dataset.description()},
                      {"images", count(totals.images)},
                      {"accuracy", percent(totals.accuracy())},
                      {"loss", fmt::format("{:.4f}", totals.loss / images)},
                      {"time", fmt::format("{} ({:.1f} images/s)", seconds(duration), images / duration)}}));
    if (!per_class_) return;
    Table table({"class", "images", "correct", "accuracy"});
    for (size_t c = 0; c < totals.class_images.size(); ++c) {
      table.add({dataset.class_names()[c], count(totals.class_images[c]), count(totals.class_correct[c]),
                 totals.class_images[c] == 0 ? "–" : percent(totals.class_accuracy(c))});
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
