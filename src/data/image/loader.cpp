#include <respeft/data/image/loader.h>

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "src/data/random.h"

namespace respeft::data {

/// The window of batches being made: `ahead` of them, begun in order. Workers take single images from it, in order, so
/// that they all work on the batch that is needed next.
class Loader::State {
 public:
  State(DatasetPtr dataset, Transform transform, std::vector<int64_t> order, const LoaderOptions& options)
      : dataset_(std::move(dataset)), transform_(std::move(transform)), order_(std::move(order)), options_(options) {
    if (options.batch_size < 1) throw std::invalid_argument(fmt::format("batch size {}: must be at least 1", options.batch_size));
    if (options.workers < 0) throw std::invalid_argument(fmt::format("{} workers: must be at least 0", options.workers));
    if (options.ahead < 1) throw std::invalid_argument(fmt::format("{} batches ahead: must be at least 1", options.ahead));
    for (int64_t index : order_) {
      if (index < 0 || index >= dataset_->size()) {
        throw std::invalid_argument(fmt::format("image {} of a dataset of {}", index, dataset_->size()));
      }
    }
    const auto workers = std::min<int64_t>(options.workers, static_cast<int64_t>(order_.size()));
    for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this](std::stop_token stop) { work(stop); });
  }

  int64_t batches() const { return images() / options_.batch_size + (images() % options_.batch_size != 0 ? 1 : 0); }
  double wait_seconds() const { return wait_seconds_; }

  std::optional<ImageBatch> next() {
    if (taken_ == batches()) return std::nullopt;
    const auto start = std::chrono::steady_clock::now();
    if (threads_.empty()) {
      while (begun_ == taken_ || window_.front().next < window_.front().size()) make_image(claim());
    }
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return ready() || failure_; });
    wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!ready()) std::rethrow_exception(failure_);
    if (window_.front().error) std::rethrow_exception(window_.front().error);
    ImageBatch batch = std::move(window_.front().batch);
    window_.pop_front();
    ++taken_;
    lock.unlock();
    room_.notify_all();
    return batch;
  }

 private:
  struct Slot {
    ImageBatch batch;
    int64_t next = 0;  ///< the position of the image to be made next
    int64_t left = 0;  ///< images that are not ready
    std::exception_ptr error;
    int64_t error_position = 0;  ///< the first image's that failed, so that the error does not depend on timing

    int64_t size() const { return static_cast<int64_t>(batch.indices.size()); }
  };
  struct Task {
    Slot* slot;
    int64_t position;
    float* out;
  };

  int64_t images() const { return static_cast<int64_t>(order_.size()); }

  /// Whether the batch that is wanted next is complete.
  bool ready() const { return begun_ > taken_ && window_.front().left == 0; }

  /// Whether an image is waiting to be made.
  bool has_task() const {
    return (!window_.empty() && window_.back().next < window_.back().size()) ||
           (begun_ < batches() && static_cast<int64_t>(window_.size()) < options_.ahead);
  }

  /// The next image to be made: of the newest batch, or the first of a new one.
  Task claim() {
    if (window_.empty() || window_.back().next == window_.back().size()) begin_batch();
    Slot& slot = window_.back();
    const int64_t position = slot.next++;
    return {&slot, position, slot.batch.images.data_ptr<float>() + position * slot.batch.images.stride(0)};
  }

  void begin_batch() {
    const auto begin = order_.begin() + begun_ * options_.batch_size;
    const int64_t size = std::min(options_.batch_size, images() - begun_ * options_.batch_size);
    Slot slot;
    slot.batch.indices.assign(begin, begin + size);
    slot.batch.images = at::empty({size, 3, transform_.size(), transform_.size()}, at::kFloat);
    slot.batch.labels = at::empty({size}, at::kLong);
    slot.left = size;
    window_.push_back(std::move(slot));
    ++begun_;
  }

  /// Called without the lock: each image of a slot has its own place there, and the slot stays where it is until `left` is 0.
  void make_image(const Task& task) {
    std::exception_ptr error;
    try {
      const int64_t index = task.slot->batch.indices[static_cast<size_t>(task.position)];
      std::mt19937_64 generator(mix(options_.seed, static_cast<uint64_t>(index)));
      const Image image = dataset_->load(index);
      apply(image, index, generator, task.out);
      task.slot->batch.labels.data_ptr<int64_t>()[task.position] = dataset_->label(index);
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    Slot& slot = *task.slot;
    if (error && (!slot.error || task.position < slot.error_position)) slot.error = error, slot.error_position = task.position;
    if (--slot.left == 0) finished_.notify_one();
  }

  void apply(const Image& image, int64_t index, std::mt19937_64& generator, float* out) {
    try {
      transform_.apply(image, generator, out);
    } catch (const std::exception& error) {
      throw std::runtime_error(fmt::format("{}: {}", dataset_->item_name(index), error.what()));
    }
  }

  void work(std::stop_token stop) {
    while (true) {
      Task task;
      {
        std::unique_lock lock(mutex_);
        if (!room_.wait(lock, stop, [&] { return has_task(); }) || stop.stop_requested()) return;
        try {
          task = claim();
        } catch (...) {  // no memory for a batch
          failure_ = std::current_exception();
          finished_.notify_one();
          return;
        }
      }
      make_image(task);
    }
  }

  const DatasetPtr dataset_;
  const Transform transform_;
  const std::vector<int64_t> order_;
  const LoaderOptions options_;
  double wait_seconds_ = 0;

  std::mutex mutex_;                   // guards what follows
  std::condition_variable_any room_;   // has_task() may have become true
  std::condition_variable finished_;   // a batch is ready
  std::deque<Slot> window_;            // begun and not taken; a deque keeps its elements in place
  int64_t begun_ = 0;                  // batches
  int64_t taken_ = 0;                  // batches
  std::exception_ptr failure_;         // what ended a worker
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

Loader::Loader(DatasetPtr dataset, Transform transform, std::vector<int64_t> order, const LoaderOptions& options)
    : state_(std::make_unique<State>(std::move(dataset), std::move(transform), std::move(order), options)) {}
Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

std::optional<ImageBatch> Loader::next() {
  return state_->next();
}
int64_t Loader::batches() const {
  return state_->batches();
}
double Loader::wait_seconds() const {
  return state_->wait_seconds();
}

}  // namespace respeft::data
