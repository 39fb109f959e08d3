#include <respeft/runs/evaluate.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/data/image/image_source.h>
#include <respeft/data/sampler.h>
#include <respeft/tasks/image_classification.h>

namespace respeft::runs {
namespace {

/// Images and right answers by class, kept where the model computes and read once at the end.
class ClassCounts {
 public:
  explicit ClassCounts(int64_t classes) : classes_(classes) {}

  void add(const at::Tensor& logits, const at::Tensor& labels) {
    const at::Tensor right = labels.masked_select(logits.argmax(1) == labels);
    const at::Tensor counts = at::stack({at::bincount(labels, {}, classes_), at::bincount(right, {}, classes_)});
    counts_ = counts_.defined() ? counts_ + counts : counts;
  }

  void write(Figures& figures) const {
    const at::Tensor counts = counts_.cpu();
    for (int64_t c = 0; c < classes_; ++c) {
      auto& one = figures.classes.at(static_cast<size_t>(c));
      one.images = counts.const_data_ptr<int64_t>()[c];
      one.correct = counts.const_data_ptr<int64_t>()[classes_ + c];
      figures.correct += one.correct;
    }
  }

 private:
  int64_t classes_;
  at::Tensor counts_;  ///< int64 `[2, classes]`
};

double value(const tasks::NamedValues& values, const std::string& name) {
  const auto found = std::find_if(values.begin(), values.end(), [&](const auto& one) { return one.first == name; });
  if (found == values.end()) throw std::logic_error("no metric " + name);
  return found->second;
}

}  // namespace

std::optional<double> ClassFigures::accuracy() const {
  return images == 0 ? std::nullopt : std::optional(static_cast<double>(correct) / static_cast<double>(images));
}

Figures evaluate(const LoadedRun& run, const data::DatasetPtr& dataset, const EvaluateOptions& options) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  check_classes(run, *dataset);
  Figures figures;
  figures.data = dataset->description();
  for (const auto& name : dataset->class_names()) figures.classes.push_back({name});
  const tasks::ImageClassification task({}, dataset->num_classes());
  const auto metrics = task.metrics(at::kCPU);
  ClassCounts counts(dataset->num_classes());
  const auto start = Clock::now();
  auto second = start;  // when the second batch began
  int64_t first = 0;    // images of the first batch
  const auto source = data::image_source(dataset, data::Transform(run.preprocessing), options.workers);
  const auto batches = source->batches(data::sequential_order(dataset->size()), options.batch_size, 0);
  while (const auto batch = batches->next()) {
    const at::Tensor logits = run.forward(batch->at(kPixels)).to(at::kFloat);
    if (logits.size(1) != dataset->num_classes())
      throw std::invalid_argument(
          fmt::format("the model has {} classes, but the data have {}", logits.size(1), dataset->num_classes()));
    metrics->add(logits, *batch, task.loss(logits, *batch, /*training=*/false));
    counts.add(logits, batch->at(kLabels));
    figures.images += batch->size();
    if (first == 0) first = figures.images, second = Clock::now();
    if (options.progress) options.progress(figures.images, value(metrics->read(), "accuracy"));
    if (options.stop != nullptr && options.stop->load()) throw Interrupted("stopped while evaluating");
  }
  if (figures.images == 0) throw std::runtime_error(figures.data + ": no images");
  counts.write(figures);
  figures.loss = value(metrics->read(), "loss");
  if (!std::isfinite(figures.loss)) throw std::runtime_error(fmt::format("{}: the loss is {}", figures.data, figures.loss));
  figures.seconds = since(start);
  if (const double rest = since(second); figures.images > first && rest > 0)
    figures.images_per_second = static_cast<double>(figures.images - first) / rest;
  return figures;
}

}  // namespace respeft::runs
