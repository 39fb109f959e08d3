#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <respeft/data/image/mixup.h>
#include <respeft/data/image/options.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/data/image/transforms.h>
#include <respeft/tasks/registry.h>
#include <respeft/tasks/task.h>

namespace respeft::tasks {

/// Single-label image classification: cross-entropy with label smoothing, Mixup and CutMix; the metric is accuracy.
///
/// A batch has `labels` (int64 `[B]`) and either `pixels`, which the model reads, or `features`, which its head reads.
class ImageClassification : public Task {
 public:
  /// Throws `std::invalid_argument` on invalid options of mixing (data/image/mixup.h).
  ImageClassification(const data::ImageOptions& options, int64_t classes);

  std::string name() const override { return "image-classification"; }
  std::string unit() const override { return "images"; }
  at::Tensor forward(models::Model& model, const Batch& batch) const override;
  /// If Mixup or CutMix is on: mixes the inputs and replaces the labels by class probabilities `[B, classes]`. Throws
  /// `std::invalid_argument` for CutMix on features.
  void prepare(Batch& batch, int64_t epoch, std::mt19937_64& generator) const override;
  /// Cross-entropy, in `training` with label smoothing.
  Loss loss(const at::Tensor& output, const Batch& batch, bool training) const override;
  /// `loss`, and `accuracy`: the share of examples whose class has the largest logit. The class of a mixed image is the one with
  /// the larger weight.
  std::unique_ptr<Metrics> metrics(at::Device device) const override;
  std::string score_name() const override { return "accuracy"; }

 private:
  std::optional<data::Mixup> mixup_;
  int64_t classes_, mixup_off_epoch_;
  bool cutmix_;
  double label_smoothing_;
};

/// The random transforms of training images.
data::TransformOptions augmentation(const data::ImageOptions& options);

/// The preprocessing for a model with `image_size` pixels per side.
data::Preprocessing preprocessing(const data::ImageOptions& options, int64_t image_size);

/// The registry's entry. Small splits are cached in memory after their first use.
Entry image_classification();

}  // namespace respeft::tasks
