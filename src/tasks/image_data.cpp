#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include <respeft/data/image/augment.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/image_source.h>
#include <respeft/tasks/image_classification.h>

namespace respeft::tasks {
namespace {

/// Up to this size, a split's resized images are kept in memory after their first use.
constexpr int64_t kCacheBytes = int64_t{1} << 29;

struct Splits {
  std::string train_split;
  data::DatasetPtr train, val, test;
};

bool has_split(const std::vector<data::Split>& splits, data::Split split) {
  return std::find(splits.begin(), splits.end(), split) != splits.end();
}

Splits open_splits(const DataOptions& options) {
  const auto there = data::dataset_splits(options.data, options.dataset);
  Splits splits;
  splits.train_split = options.train_split;
  if (splits.train_split.empty()) {
    const bool all = !options.val && has_split(there, data::Split::trainval);
    splits.train_split = data::to_string(all ? data::Split::trainval : data::Split::train);
  }
  splits.train = data::open_dataset(options.data, data::split_from_name(splits.train_split), options.dataset);
  if (options.train_samples > 0)
    splits.train = data::subset(splits.train, options.train_samples, static_cast<uint64_t>(options.seed));
  if (options.test) {
    splits.test = data::open_dataset(options.data, data::Split::test, options.dataset);
    if (options.test_samples > 0) splits.test = data::sample(splits.test, options.test_samples);
  }
  if (options.val) {
    if (!has_split(there, data::Split::val))
      throw std::invalid_argument(fmt::format("protocol: 'val' needs a validation split, and {} has none", options.data));
    splits.val = data::open_dataset(options.data, data::Split::val, options.dataset);
  }
  return splits;
}

void check_classes(const Splits& splits) {
  for (const auto& other : {splits.val, splits.test}) {
    if (other && other->class_names() != splits.train->class_names())
      throw std::runtime_error(
          fmt::format("{}: its classes are not those of {}", other->description(), splits.train->description()));
  }
}

/// The images of a split as the model reads them, kept in memory where they are few.
std::shared_ptr<const data::Source> open_source(data::DatasetPtr dataset, const DataOptions& options, bool random) {
  const data::Transform transform(preprocessing(options.image, options.image_size),
                                  random ? augmentation(options.image) : data::TransformOptions());
  if (transform.reads_resized() && dataset->size() * data::cached_bytes(transform) <= kCacheBytes)
    dataset = data::cached(dataset, transform);
  return data::image_source(dataset, transform, options.image.workers);
}

bool is_fixed(const data::ImageOptions& o) {
  return !o.random_crop && o.random_resized_crop == 0 && !o.flip && o.auto_augment.empty() && o.random_erasing == 0 && !o.mixes();
}

data::DataFingerprint fingerprint_of(const Splits& splits, const DataOptions& options) {
  const std::string root = options.data.substr(options.data.find(':') + 1);
  data::DataFingerprint result{splits.train->class_names(), {}};
  for (const auto& [name, split] :
       {std::pair("train", splits.train), std::pair("val", splits.val), std::pair("test", splits.test)}) {
    if (split) result.splits[name] = data::fingerprint(*split, root);
  }
  return result;
}

Assignment open(const DataOptions& options) {
  const Splits splits = open_splits(options);
  check_classes(splits);
  Assignment assignment;
  assignment.train_split = splits.train_split;
  assignment.class_names = splits.train->class_names();
  assignment.outputs = splits.train->num_classes();
  assignment.task = std::make_shared<ImageClassification>(options.image, assignment.outputs);
  assignment.fingerprint = fingerprint_of(splits, options);
  assignment.fixed_inputs = is_fixed(options.image);
  assignment.train = open_source(splits.train, options, true);
  if (splits.val) assignment.val = open_source(splits.val, options, false);
  if (splits.test) assignment.test = open_source(splits.test, options, false);
  return assignment;
}

}  // namespace

data::Preprocessing preprocessing(const data::ImageOptions& o, int64_t image_size) {
  return {o.mean, o.std, image_size, o.interpolation, o.resize_size, o.resize_mode};
}

data::TransformOptions augmentation(const data::ImageOptions& o) {
  data::TransformOptions transform;
  std::optional<data::Filter> filter;
  if (o.train_interpolation != "random") filter = data::filter_from_name(o.train_interpolation);
  if (o.random_resized_crop > 0) transform.random_resized_crop = {.min_area = o.random_resized_crop, .filter = filter};
  transform.random_crop = o.random_crop;
  transform.random_flip = o.flip;
  if (!o.auto_augment.empty())
    transform.rand_augment = std::make_shared<data::RandAugment>(o.auto_augment, data::fill_color(o.mean), filter);
  if (o.random_erasing > 0) {
    transform.random_erasing = std::make_shared<data::RandomErasing>(data::RandomErasingOptions{
        .probability = o.random_erasing, .mode = o.random_erasing_mode, .max_count = o.random_erasing_count});
  }
  return transform;
}

Entry image_classification() {
  return {"image-classification", "one class for each image", open};
}

}  // namespace respeft::tasks
