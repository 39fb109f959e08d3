#include <respeft/runs/evaluate.h>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/data/image/loader.h>
#include <respeft/data/sampler.h>

namespace respeft::runs {
namespace {

/// Sums over the images seen so far, by class, kept where the model computes and read once at the end. The loss and the accuracy
/// of a training are those of tasks/image_classification.cpp.
class Sums {
 public:
  explicit Sums(int64_t classes) : classes_(classes) {}

  void add(const at::Tensor& logits, const at::Tensor& labels) {
    if (logits.size(1) != classes_)
      throw std::invalid_argument(fmt::format("the model has {} classes, but the data have {}", logits.size(1), classes_));
    const at::Tensor right = logits.argmax(1) == labels;
    const at::Tensor loss = at::cross_entropy_loss(logits, labels, {}, at::Reduction::Sum).to(at::kDouble);
    const at::Tensor images = at::bincount(labels, {}, classes_);
    const at::Tensor correct = at::bincount(labels.masked_select(right), {}, classes_);
    loss_ = loss_.defined() ? loss_ + loss : loss;
    images_ = images_.defined() ? images_ + images : images;
    correct_ = correct_.defined() ? correct_ + correct : correct;
    count_ += labels.size(0);
  }

  int64_t count() const { return count_; }
  double accuracy() const { return correct_.sum().item<double>() / static_cast<double>(count_); }

  void write(Figures& figures) const {
    figures.images = count_;
    figures.loss = loss_.item<double>() / static_cast<double>(count_);
    if (!std::isfinite(figures.loss)) throw std::runtime_error(fmt::format("{}: the loss is {}", figures.data, figures.loss));
    const at::Tensor images = images_.cpu(), correct = correct_.cpu();
    for (int64_t c = 0; c < classes_; ++c) {
      auto& one = figures.classes.at(static_cast<size_t>(c));
      one.images = images.const_data_ptr<int64_t>()[c];
      one.correct = correct.const_data_ptr<int64_t>()[c];
      figures.correct += one.correct;
    }
  }

 private:
  int64_t classes_, count_ = 0;
  at::Tensor loss_;              ///< float64
  at::Tensor images_, correct_;  ///< int64 `[classes]`
};

}  // namespace

std::optional<double> ClassFigures::accuracy() const {
  return images == 0 ? std::nullopt : std::optional(static_cast<double>(correct) / static_cast<double>(images));
}

Figures evaluate(const LoadedRun& run, data::DatasetPtr dataset, const EvaluateOptions& options) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); };
  check_classes(run, *dataset);
  Figures figures;
  figures.data = dataset->description();
  for (const auto& name : dataset->class_names()) figures.classes.push_back({name});
  Sums sums(dataset->num_classes());
  const auto start = Clock::now();
  auto second = start;  // when the second batch began
  int64_t first = 0;    // images of the first batch
  data::Loader loader(dataset, data::Transform(run.preprocessing), data::sequential_order(dataset->size()),
                      {.batch_size = options.batch_size, .workers = options.workers});
  while (const auto batch = loader.next()) {
    sums.add(run.forward(batch->images).to(at::kFloat), batch->labels);
    if (first == 0) first = sums.count(), second = Clock::now();
    if (options.progress) options.progress(sums.count(), sums.accuracy());
    if (options.stop != nullptr && options.stop->load()) throw Interrupted("stopped while evaluating");
  }
  if (sums.count() == 0) throw std::runtime_error(figures.data + ": no images");
  sums.write(figures);
  figures.seconds = since(start);
  if (const double rest = since(second); sums.count() > first && rest > 0)
    figures.images_per_second = static_cast<double>(sums.count() - first) / rest;
  return figures;
}

}  // namespace respeft::runs
