#include <respeft/data/source.h>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include <respeft/data/sampler.h>

namespace respeft::data {
namespace {

class TensorIterator : public BatchIterator {
 public:
  TensorIterator(Batch examples, const std::vector<int64_t>& order, int64_t batch_size)
      : examples_(std::move(examples)), batch_size_(batch_size) {
    const at::Tensor indices = at::tensor(order, at::kLong);
    for (const auto& [name, tensor] : examples_.tensors()) {
      at::Tensor& own = orders_[tensor.device().str()];
      if (!own.defined()) own = indices.to(tensor.device());
    }
    size_ = indices.size(0);
  }

  std::optional<Batch> next() override {
    const int64_t count = std::min(batch_size_, size_ - position_);
    if (count <= 0) return std::nullopt;
    Batch batch;
    for (const auto& [name, tensor] : examples_.tensors())
      batch[name] = tensor.index_select(0, orders_.at(tensor.device().str()).narrow(0, position_, count));
    position_ += count;
    return batch;
  }

 private:
  Batch examples_;
  std::map<std::string, at::Tensor> orders_;  ///< by device: indices must be where the tensors are
  int64_t batch_size_;
  int64_t size_ = 0, position_ = 0;
};

class TensorSource : public Source {
 public:
  explicit TensorSource(Batch examples) : examples_(std::move(examples)) {
    for (const auto& [name, tensor] : examples_.tensors()) {
      if (tensor.defined() && tensor.dim() >= 1 && tensor.size(0) == examples_.size()) continue;
      throw std::invalid_argument(
          fmt::format("tensor_source: expected '{}' [N, …] of N = {} examples, got [{}]", name, examples_.size(),
                      tensor.defined() ? fmt::format("{}", fmt::join(tensor.sizes(), ", ")) : "undefined"));
    }
  }

  int64_t size() const override { return examples_.size(); }
  std::unique_ptr<BatchIterator> batches(std::vector<int64_t> order, int64_t batch_size, uint64_t) const override {
    return std::make_unique<TensorIterator>(examples_, order, batch_size);
  }

 private:
  Batch examples_;
};

}  // namespace

std::shared_ptr<const Source> tensor_source(Batch examples) {
  return std::make_shared<TensorSource>(std::move(examples));
}

std::shared_ptr<const Source> precompute(const Source& source, const std::string& input, const std::string& features,
                                         const std::function<at::Tensor(const Batch&)>& compute, int64_t batch_size,
                                         const std::function<void(int64_t)>& progress) {
  const at::NoGradGuard no_grad;
  std::map<std::string, std::vector<at::Tensor>> parts;
  int64_t done = 0;
  const auto batches = source.batches(sequential_order(source.size()), batch_size, 0);
  while (auto batch = batches->next()) {
    parts[features].push_back(compute(*batch));
    for (const auto& [name, tensor] : batch->tensors()) {
      if (name != input) parts[name].push_back(tensor);
    }
    done += batch->size();
    progress(done);
  }
  Batch examples;
  for (const auto& [name, tensors] : parts) examples[name] = at::cat(tensors);
  return tensor_source(std::move(examples));
}

}  // namespace respeft::data
