#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <respeft/core/fields.h>

namespace respeft::data {

/// How images become a model's input, and how training images are changed at random. `fields()` describes each member.
struct ImageOptions {
  std::array<double, 3> mean = {0.5, 0.5, 0.5};
  std::array<double, 3> std = {0.5, 0.5, 0.5};
  std::string interpolation = "bicubic";
  int64_t resize_size = 0;
  std::string resize_mode = "squash";
  bool random_crop = false;
  double random_resized_crop = 0.0;
  bool flip = false;
  std::string auto_augment;
  std::string train_interpolation = "random";
  double random_erasing = 0.0;
  std::string random_erasing_mode = "pixel";
  int64_t random_erasing_count = 1;
  double mixup = 0.0;
  double cutmix = 0.0;
  double mixup_prob = 1.0;
  double mixup_switch_prob = 0.5;
  int64_t mixup_off_epoch = 0;
  double label_smoothing = 0.0;
  int64_t workers = 1;

  bool operator==(const ImageOptions&) const = default;

  Fields fields();

  /// True if batches are mixed.
  bool mixes() const { return mixup > 0 || cutmix > 0; }
};

}  // namespace respeft::data
