#include <respeft/data/image/options.h>

namespace respeft::data {
namespace {

using Presets = std::vector<std::pair<std::string, std::array<double, 3>>>;

const Presets kMeans = {{"imagenet", {0.485, 0.456, 0.406}}, {"half", {0.5, 0.5, 0.5}}};
const Presets kDeviations = {{"imagenet", {0.229, 0.224, 0.225}}, {"half", {0.5, 0.5, 0.5}}};

}  // namespace

Fields ImageOptions::fields() {
  Fields list;
  list.add({.name = "mean",
            .help = "mean of each channel, of values in 0...1: R,G,B, or imagenet, or half",
            .group = "Data",
            .minimum = 0,
            .maximum = 1,
            .presets = kMeans},
           mean);
  list.add({.name = "std",
            .help = "standard deviation of each channel: R,G,B, or imagenet, or half",
            .group = "Data",
            .minimum = 0,
            .above_minimum = true,
            .presets = kDeviations},
           std);
  list.add({.name = "interpolation",
            .help = "how images are resized: bicubic or bilinear, antialiased",
            .group = "Data",
            .choices = {"bicubic", "bilinear"}},
           interpolation);
  list.add({.name = "resize_size",
            .help = "pixels that images are resized to before the center crop; 0: the model's size",
            .group = "Data",
            .minimum = 0,
            .maximum = 1 << 16},
           resize_size);
  list.add({.name = "resize_mode",
            .help = "squash: to a square; shortest: the shorter side, aspect kept",
            .group = "Data",
            .choices = {"squash", "shortest"}},
           resize_mode);
  list.add({.name = "random_crop", .help = "crop training images at a random place, not in the center", .group = "Data"},
           random_crop);
  list.add({.name = "random_resized_crop",
            .help = "minimum area fraction of RandomResizedCrop (aspect 3/4 to 4/3; timm: 0.08); 0: off",
            .group = "Data",
            .minimum = 0,
            .maximum = 1},
           random_resized_crop);
  list.add({.name = "flip", .help = "flip training images left to right at random", .group = "Data"}, flip);
  list.add({.name = "auto_augment",
            .help = "RandAugment of training images in timm's notation, e.g. rand-m9-mstd0.5-inc1; empty: off",
            .group = "Augmentation"},
           auto_augment);
  list.add({.name = "train_interpolation",
            .help = "interpolation for RandomResizedCrop and RandAugment's geometric operations; random: bilinear or bicubic, "
                    "drawn each time",
            .group = "Augmentation",
            .choices = {"random", "bilinear", "bicubic"}},
           train_interpolation);
  list.add({.name = "random_erasing",
            .help = "probability of erasing a rectangle of a training image (timm: reprob)",
            .group = "Augmentation",
            .minimum = 0,
            .maximum = 1},
           random_erasing);
  list.add({.name = "random_erasing_mode",
            .help = "fill of erased regions (timm: remode): pixel: noise; rand: one random color; const: the mean",
            .group = "Augmentation",
            .choices = {"pixel", "rand", "const"}},
           random_erasing_mode);
  list.add({.name = "random_erasing_count",
            .help = "most rectangles erased in an image (timm: recount)",
            .group = "Augmentation",
            .minimum = 1},
           random_erasing_count);
  list.add({.name = "mixup",
            .help = "alpha of Mixup: images and labels are mixed with a share from Beta(alpha, alpha); 0: off",
            .group = "Augmentation",
            .minimum = 0},
           mixup);
  list.add({.name = "cutmix",
            .help = "alpha of CutMix: boxes of other images, of a share from 1 - Beta(alpha, alpha); 0: off",
            .group = "Augmentation",
            .minimum = 0},
           cutmix);
  list.add({.name = "mixup_prob",
            .help = "probability of mixing a batch, where mixup or cutmix is on",
            .group = "Augmentation",
            .minimum = 0,
            .maximum = 1},
           mixup_prob);
  list.add({.name = "mixup_switch_prob",
            .help = "probability of CutMix rather than Mixup, where both are on",
            .group = "Augmentation",
            .minimum = 0,
            .maximum = 1},
           mixup_switch_prob);
  list.add({.name = "mixup_off_epoch",
            .help = "epochs after which batches are no longer mixed; 0: never",
            .group = "Augmentation",
            .minimum = 0},
           mixup_off_epoch);
  list.add({.name = "label_smoothing", .help = "share of the target spread evenly over all classes", .minimum = 0, .maximum = 1},
           label_smoothing);
  list.add({.name = "workers",
            .help = "threads that read and resize images; 0: none, the main thread does it",
            .group = "Data",
            .minimum = 0,
            .may_change = true},
           workers);
  return list;
}

}  // namespace respeft::data
