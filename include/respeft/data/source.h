#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <respeft/core/batch.h>

namespace respeft::data {

/// The batches of one pass over a source's examples.
class BatchIterator {
 public:
  virtual ~BatchIterator() = default;
  /// The next batch, whose tensors the caller may write to, or nothing after the last.
  virtual std::optional<Batch> next() = 0;
  /// Seconds that callers of `next` have waited so far.
  virtual double wait_seconds() const { return 0.0; }
};

/// Examples that training and evaluation read in batches.
class Source {
 public:
  virtual ~Source() = default;
  /// The number of examples.
  virtual int64_t size() const = 0;
  /// The examples in the order of `order`, `batch_size` at a time; the last batch may be smaller. `seed` decides the random
  /// parts.
  virtual std::unique_ptr<BatchIterator> batches(std::vector<int64_t> order, int64_t batch_size, uint64_t seed) const = 0;
};

/// Examples that are in memory already. Throws `std::invalid_argument` unless all tensors have the same first dimension.
std::shared_ptr<const Source> tensor_source(Batch examples);

/// The examples of `source` with the tensor `input` replaced by `features`: the result of `compute` for each batch, computed
/// once, in order and without gradients. `progress(done)` is called after each batch.
std::shared_ptr<const Source> precompute(const Source& source, const std::string& input, const std::string& features,
                                         const std::function<at::Tensor(const Batch&)>& compute, int64_t batch_size,
                                         const std::function<void(int64_t)>& progress);

}  // namespace respeft::data
