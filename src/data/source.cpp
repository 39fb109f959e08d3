#include <respeft/data/source.h>

#include <ATen/ATen.h>

#include <utility>

#include <respeft/data/image/loader.h>

namespace respeft::data {
namespace {

class LoaderPass : public Pass {
 public:
  explicit LoaderPass(data::Loader loader) : loader_(std::move(loader)) {}

  std::optional<Examples> next() override {
    auto batch = loader_.next();
    if (!batch) return std::nullopt;
    return Examples{std::move(batch->images), std::move(batch->labels)};
  }
  double wait_seconds() const override { return loader_.wait_seconds(); }

 private:
  data::Loader loader_;
};

class ImageSource : public Source {
 public:
  ImageSource(data::DatasetPtr dataset, const data::Transform& transform, int64_t workers)
      : dataset_(std::move(dataset)), transform_(transform), workers_(workers) {}

  int64_t size() const override { return dataset_->size(); }
  std::unique_ptr<Pass> pass(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const override {
    data::LoaderOptions options;
    options.batch_size = batch_size;
    options.workers = workers_;
    options.seed = seed;
    return std::make_unique<LoaderPass>(data::Loader(dataset_, transform_, std::move(order), options));
  }

 private:
  data::DatasetPtr dataset_;
  data::Transform transform_;
  int64_t workers_;
};

class TensorPass : public Pass {
 public:
  TensorPass(at::Tensor inputs, at::Tensor labels, std::vector<int64_t> order, int64_t batch_size)
      : inputs_(std::move(inputs)), labels_(std::move(labels)), order_(std::move(order)), batch_size_(batch_size) {}

  std::optional<Examples> next() override {
    const int64_t left = static_cast<int64_t>(order_.size()) - position_;
    if (left <= 0) return std::nullopt;
    const int64_t count = std::min(batch_size_, left);
    const at::Tensor indices = at::from_blob(order_.data() + position_, {count}, at::kLong);
    position_ += count;
    return Examples{inputs_.index_select(0, indices), labels_.index_select(0, indices)};
  }

 private:
  at::Tensor inputs_, labels_;
  std::vector<int64_t> order_;
  int64_t batch_size_;
  int64_t position_ = 0;
};

class TensorSource : public Source {
 public:
  TensorSource(at::Tensor inputs, at::Tensor labels) : inputs_(std::move(inputs)), labels_(std::move(labels)) {
    TORCH_CHECK_VALUE(labels_.dim() == 1 && inputs_.dim() >= 1 && inputs_.size(0) == labels_.size(0),
                      "tensor_source: expected inputs [N, ...] and labels [N], got ", inputs_.sizes(), " and ", labels_.sizes());
  }

  int64_t size() const override { return labels_.size(0); }
  std::unique_ptr<Pass> pass(std::vector<int64_t> order, int64_t batch_size, uint64_t) const override {
    return std::make_unique<TensorPass>(inputs_, labels_, std::move(order), batch_size);
  }

 private:
  at::Tensor inputs_, labels_;
};

}  // namespace

std::shared_ptr<const Source> image_source(data::DatasetPtr dataset, const data::Transform& transform, int64_t workers) {
  return std::make_shared<ImageSource>(std::move(dataset), transform, workers);
}

std::shared_ptr<const Source> tensor_source(at::Tensor inputs, at::Tensor labels) {
  return std::make_shared<TensorSource>(std::move(inputs), std::move(labels));
}

std::shared_ptr<const Source> precompute(const Source& source, const std::function<at::Tensor(const at::Tensor&)>& forward,
                                         int64_t batch_size, const std::function<void(int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> inputs, labels;
  int64_t done = 0;
  const auto pass = source.pass(data::sequential_order(source.size()), batch_size, 0);
  while (auto batch = pass->next()) {
    inputs.push_back(forward(batch->inputs));
    labels.push_back(batch->labels);
    done += batch->labels.size(0);
    progress(done);
  }
  return tensor_source(at::cat(inputs), at::cat(labels));
}

}  // namespace respeft::data
