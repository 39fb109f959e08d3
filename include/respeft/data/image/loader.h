#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/transforms.h>
#include <respeft/data/sampler.h>

namespace respeft::data {

/// Images of a dataset, transformed, with their labels.
struct ImageBatch {
  at::Tensor images;             ///< float32 `[B, 3, S, S]`, normalized
  at::Tensor labels;             ///< int64 `[B]`
  std::vector<int64_t> indices;  ///< of the images in the dataset
};

struct LoaderOptions {
  int64_t batch_size = 32;
  int64_t workers = 2;  ///< threads; 0: `next` makes the batches itself
  int64_t ahead = 3;    ///< batches that may be prepared in advance
  uint64_t seed = 0;    ///< of the random parts of the transform; image i's draws depend on (seed, i) alone
};

/// Makes the batches of one pass over `order`, ahead of their use. The batches and their order depend on neither the
/// number of workers nor their timing; the last batch may be smaller. Used from one thread; destruction may come at any moment.
class Loader {
 public:
  /// Throws `std::invalid_argument` on an index out of range, a batch size or `ahead` below 1, or workers below 0.
  Loader(DatasetPtr dataset, Transform transform, std::vector<int64_t> order, const LoaderOptions& options = {});
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// The next batch, or nothing after the last. Throws the error of an image in this batch (`std::runtime_error` that names the
  /// file), again on every further call.
  std::optional<ImageBatch> next();

  /// Batches in the whole pass.
  int64_t batches() const;
  /// Seconds that callers of `next` have waited so far.
  double wait_seconds() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace respeft::data
