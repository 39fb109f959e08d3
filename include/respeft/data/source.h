#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/transforms.h>

namespace respeft::data {

/// Some examples: what the model reads, and the classes it should answer.
struct Examples {
  at::Tensor inputs;  ///< images `[B, 3, S, S]`, or features `[B, D]`
  at::Tensor labels;  ///< int64 `[B]`
};

/// One pass over a source's examples in a given order.
class Pass {
 public:
  virtual ~Pass() = default;
  /// The next batch, which the caller may write to, or nothing after the last.
  virtual std::optional<Examples> next() = 0;
  /// Seconds that `next` has kept its caller waiting so far.
  virtual double wait_seconds() const { return 0.0; }
};

/// Labelled examples that training and evaluation read in batches.
class Source {
 public:
  virtual ~Source() = default;
  virtual int64_t size() const = 0;
  /// A pass in the order of `order`, `batch_size` at a time, the last batch perhaps smaller. `seed` decides what is random.
  virtual std::unique_ptr<Pass> pass(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const = 0;
};

/// A dataset's images, read and transformed by `workers` threads ahead of their use.
std::shared_ptr<const Source> image_source(data::DatasetPtr dataset, const data::Transform& transform, int64_t workers);

/// Examples that are in memory already: `inputs [N, …]`, `labels [N]`.
std::shared_ptr<const Source> tensor_source(at::Tensor inputs, at::Tensor labels);

/// What `forward` makes of every example of `source`, computed once, without gradients. `progress(done)` is called
/// after each batch.
std::shared_ptr<const Source> precompute(const Source& source, const std::function<at::Tensor(const at::Tensor&)>& forward,
                                         int64_t batch_size, const std::function<void(int64_t)>& progress);

}  // namespace respeft::data
