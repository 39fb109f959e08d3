#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <numeric>
#include <stdexcept>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/loader.h>

#include "src/data/random.h"

namespace respeft::data {
namespace {

/// Keeps a subset's draws apart from those of other uses of the same seed.
constexpr uint64_t kSubsetStream = 0x737562736574;

/// Some images of another dataset.
class Selection : public Dataset {
 public:
  Selection(DatasetPtr dataset, std::vector<int64_t> indices, std::string which)
      : dataset_(std::move(dataset)), indices_(std::move(indices)), which_(std::move(which)) {}

  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  int64_t label(int64_t index) const override { return dataset_->label(at(index)); }
  Image load(int64_t index) const override { return dataset_->load(at(index)); }
  std::string item_name(int64_t index) const override { return dataset_->item_name(at(index)); }
  std::optional<std::string> file(int64_t index) const override { return dataset_->file(at(index)); }
  const std::vector<std::string>& class_names() const override { return dataset_->class_names(); }
  std::string description() const override { return fmt::format("{}, {}", dataset_->description(), which_); }

 private:
  int64_t at(int64_t index) const { return indices_.at(static_cast<size_t>(index)); }

  DatasetPtr dataset_;
  std::vector<int64_t> indices_;
  std::string which_;
};

/// Two datasets, one after the other.
class Concatenation : public Dataset {
 public:
  Concatenation(DatasetPtr head, DatasetPtr tail, std::string description)
      : head_(std::move(head)), tail_(std::move(tail)), description_(std::move(description)) {}

  int64_t size() const override { return head_->size() + tail_->size(); }
  int64_t label(int64_t index) const override { return part(index).label(index); }
  Image load(int64_t index) const override { return part(index).load(index); }
  std::string item_name(int64_t index) const override { return part(index).item_name(index); }
  std::optional<std::string> file(int64_t index) const override { return part(index).file(index); }
  const std::vector<std::string>& class_names() const override { return head_->class_names(); }
  std::string description() const override { return description_; }

 private:
  /// The part that image `index` is in; `index` becomes its number there.
  const Dataset& part(int64_t& index) const {
    if (index < head_->size()) return *head_;
    index -= head_->size();
    return *tail_;
  }

  DatasetPtr head_, tail_;
  std::string description_;
};

/// Another dataset's images, resized and kept.
class Cached : public Dataset {
 public:
  Cached(DatasetPtr dataset, const Transform& transform)
      : dataset_(std::move(dataset)), transform_(transform), images_(static_cast<size_t>(dataset_->size())) {}

  int64_t size() const override { return dataset_->size(); }
  int64_t label(int64_t index) const override { return dataset_->label(index); }
  Image load(int64_t index) const override {
    Image& image = images_.at(static_cast<size_t>(index));
    const std::lock_guard lock(locks_[static_cast<size_t>(index) % locks_.size()]);
    if (image.pixels.empty()) image = transform_.resized(dataset_->load(index));
    return image;
  }
  std::string item_name(int64_t index) const override { return dataset_->item_name(index); }
  std::optional<std::string> file(int64_t index) const override { return dataset_->file(index); }
  const std::vector<std::string>& class_names() const override { return dataset_->class_names(); }
  std::string description() const override { return dataset_->description(); }

 private:
  DatasetPtr dataset_;
  Transform transform_;
  mutable std::vector<Image> images_;
  mutable std::array<std::mutex, 64> locks_;  ///< image i is guarded by lock i % 64
};

/// Each class's indices, in a random order.
std::vector<std::vector<int64_t>> shuffled_classes(const Dataset& dataset, std::mt19937_64& generator) {
  std::vector<std::vector<int64_t>> classes(static_cast<size_t>(dataset.num_classes()));
  for (int64_t i = 0; i < dataset.size(); ++i) classes.at(static_cast<size_t>(dataset.label(i))).push_back(i);
  for (auto& indices : classes) shuffle(indices, generator);
  return classes;
}

}  // namespace

DatasetPtr subset(DatasetPtr dataset, int64_t count, uint64_t seed) {
  if (count < 1 || count > dataset->size()) {
    throw std::invalid_argument(fmt::format("a subset of {} images: must be 1 … {}", count, dataset->size()));
  }
  std::mt19937_64 generator(mix(seed, kSubsetStream));
  auto classes = shuffled_classes(*dataset, generator);
  std::vector<int64_t> turns(classes.size());
  std::iota(turns.begin(), turns.end(), 0);
  shuffle(turns, generator);
  std::vector<int64_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) {
    for (int64_t turn : turns) {
      auto& left = classes[static_cast<size_t>(turn)];
      if (left.empty() || static_cast<int64_t>(drawn.size()) == count) continue;
      drawn.push_back(left.back());
      left.pop_back();
    }
  }
  std::sort(drawn.begin(), drawn.end());
  const std::string which = fmt::format("{} of them drawn evenly from the classes with seed {}", count, seed);
  return std::make_shared<Selection>(std::move(dataset), std::move(drawn), which);
}

DatasetPtr sample(DatasetPtr dataset, int64_t count, uint64_t seed) {
  if (count < 1) throw std::invalid_argument(fmt::format("a sample of {} images: must be at least 1", count));
  return count < dataset->size() ? subset(std::move(dataset), count, seed) : dataset;
}

DatasetPtr first(DatasetPtr dataset, int64_t count) {
  if (count < 1) throw std::invalid_argument(fmt::format("the first {} images: must be at least 1", count));
  if (count >= dataset->size()) return dataset;
  return std::make_shared<Selection>(std::move(dataset), sequential_order(count), fmt::format("the first {}", count));
}

DatasetPtr concatenated(DatasetPtr head, DatasetPtr tail, const std::string& description) {
  if (head->class_names() != tail->class_names()) {
    throw std::invalid_argument(fmt::format("{} and {} have other classes", head->description(), tail->description()));
  }
  return std::make_shared<Concatenation>(std::move(head), std::move(tail), description);
}

DatasetPtr cached(DatasetPtr dataset, const Transform& transform) {
  if (!transform.reads_resized())
    throw std::invalid_argument("images that are cut before they are resized cannot be kept resized");
  return std::make_shared<Cached>(std::move(dataset), transform);
}

int64_t cached_bytes(const Transform& transform) {
  const auto& preprocessing = transform.preprocessing();
  const int64_t side = preprocessing.resized_side();
  return side * side * 3 * (preprocessing.resize_mode == "shortest" ? 2 : 1);
}

}  // namespace respeft::data
