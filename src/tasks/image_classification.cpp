#include <respeft/tasks/image_classification.h>

#include <ATen/ATen.h>

#include <stdexcept>

namespace respeft::tasks {
namespace {

/// Class numbers of labels that may be mixtures.
at::Tensor class_numbers(const at::Tensor& labels) {
  return labels.dim() == 2 ? labels.argmax(1) : labels;
}

/// Sums of the losses, of the right answers and of the examples. Losses are float32 numbers of similar size, so that their sum in
/// float64 is exact, in whatever order they come.
class ClassificationMetrics : public Metrics {
 public:
  explicit ClassificationMetrics(at::Device device) : sums_(at::zeros({3}, at::TensorOptions(at::kDouble).device(device))) {}

  void add(const at::Tensor& output, const Batch& batch, const Loss& loss) override {
    const at::NoGradGuard no_grad;
    sums_[0].add_(loss.sum.detach());
    sums_[1].add_(output.detach().argmax(1).eq(class_numbers(batch.at(kLabels))).sum());
    sums_[2].add_(loss.count);
  }
  at::Tensor& sums() override { return sums_; }
  NamedValues read() const override {
    const at::Tensor read = sums_.cpu();
    const auto* sums = read.const_data_ptr<double>();
    return {{"loss", sums[0] / sums[2]}, {"accuracy", sums[1] / sums[2]}};
  }

 private:
  at::Tensor sums_;
};

}  // namespace

ImageClassification::ImageClassification(const data::ImageOptions& options, int64_t classes)
    : classes_(classes),
      mixup_off_epoch_(options.mixup_off_epoch),
      cutmix_(options.cutmix > 0.0),
      label_smoothing_(options.label_smoothing) {
  if (!options.mixes()) return;
  mixup_.emplace(data::MixupOptions{.mixup_alpha = options.mixup,
                                    .cutmix_alpha = options.cutmix,
                                    .prob = options.mixup_prob,
                                    .switch_prob = options.mixup_switch_prob});
}

at::Tensor ImageClassification::forward(models::Model& model, const Batch& batch) const {
  return batch.contains(kFeatures) ? model.classify(batch.at(kFeatures)) : model.forward(batch);
}

void ImageClassification::prepare(Batch& batch, int64_t epoch, std::mt19937_64& generator) const {
  if (!mixup_) return;
  at::Tensor& input = batch[batch.contains(kFeatures) ? kFeatures : kPixels];
  data::Mix how;
  if (mixup_off_epoch_ == 0 || epoch < mixup_off_epoch_) {
    const bool images = input.dim() == 4;
    if (cutmix_ && !images) throw std::invalid_argument("cutmix: the inputs are no images [B, C, H, W]");
    how = mixup_->draw(images ? input.size(2) : 1, images ? input.size(3) : 1, generator);
  }
  data::mix(input, how);
  batch[kLabels] = data::mixed_targets(batch.at(kLabels), classes_, how.lam, label_smoothing_);
}

Loss ImageClassification::loss(const at::Tensor& output, const Batch& batch, bool training) const {
  const at::Tensor& labels = batch.at(kLabels);
  const double smoothing = training && labels.dim() == 1 ? label_smoothing_ : 0.0;  // mixtures are smoothed already
  return {at::cross_entropy_loss(output, labels, {}, at::Reduction::Sum, -100, smoothing), labels.size(0)};
}

std::unique_ptr<Metrics> ImageClassification::metrics(at::Device device) const {
  return std::make_unique<ClassificationMetrics>(device);
}

}  // namespace respeft::tasks
