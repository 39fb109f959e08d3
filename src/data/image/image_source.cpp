#include <respeft/data/image/image_source.h>

#include <utility>

#include <respeft/data/image/loader.h>

namespace respeft::data {
namespace {

class ImageIterator : public BatchIterator {
 public:
  explicit ImageIterator(Loader loader) : loader_(std::move(loader)) {}

  std::optional<Batch> next() override {
    auto images = loader_.next();
    if (!images) return std::nullopt;
    return Batch{{kPixels, std::move(images->images)}, {kLabels, std::move(images->labels)}};
  }
  double wait_seconds() const override { return loader_.wait_seconds(); }

 private:
  Loader loader_;
};

class ImageSource : public Source {
 public:
  ImageSource(DatasetPtr dataset, const Transform& transform, int64_t workers)
      : dataset_(std::move(dataset)), transform_(transform), workers_(workers) {}

  int64_t size() const override { return dataset_->size(); }
  std::unique_ptr<BatchIterator> batches(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const override {
    LoaderOptions options;
    options.batch_size = batch_size;
    options.workers = workers_;
    options.seed = seed;
    return std::make_unique<ImageIterator>(Loader(dataset_, transform_, std::move(order), options));
  }

 private:
  DatasetPtr dataset_;
  Transform transform_;
  int64_t workers_;
};

}  // namespace

std::shared_ptr<const Source> image_source(DatasetPtr dataset, const Transform& transform, int64_t workers) {
  return std::make_shared<ImageSource>(std::move(dataset), transform, workers);
}

}  // namespace respeft::data
