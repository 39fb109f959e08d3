#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <respeft/data/image/dataset.h>
#include <respeft/data/image/transforms.h>

namespace respeft::data {

struct Batch {
  at::Tensor images;             ///< float32 `[B, 3, S, S]`, normalized
  at::Tensor labels;             ///< int64 `[B]`
  std::vector<int64_t> indices;  ///< of the images in the dataset
};

struct LoaderOptions {
  int64_t batch_size = 32;
  int64_t workers = 2;  ///< threads; 0: batches are made where they are asked for
  int64_t ahead = 3;    ///< batches that may be made before they are asked for
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

  /// The next batch, or nothing after the last. What goes wrong with an image of this batch (`std::runtime_error` naming the
  /// file) is thrown here, again on every further call.
  std::optional<Batch> next();

  /// Batches in the whole pass.
  int64_t batches() const;
  /// Seconds that `next` has kept its caller waiting so far.
  double wait_seconds() const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// 0 … n - 1.
std::vector<int64_t> sequential_order(int64_t n);

/// A permutation of 0 … n - 1: a pure function of its arguments, the same on every platform.
std::vector<int64_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch);

/// A seed for one epoch, e.g. for `LoaderOptions::seed`: a pure function of its arguments.
uint64_t epoch_seed(uint64_t seed, int64_t epoch);

}  // namespace respeft::data
