#pragma once

#include <cstdint>
#include <vector>

namespace respeft::data {

/// 0 … n - 1.
std::vector<int64_t> sequential_order(int64_t n);

/// A permutation of 0 … n - 1: a pure function of its arguments, the same on every platform.
std::vector<int64_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch);

/// A seed for one epoch, e.g. for `LoaderOptions::seed`: a pure function of its arguments.
uint64_t epoch_seed(uint64_t seed, int64_t epoch);
/// The same for one of several streams of random numbers, which have nothing to do with each other.
uint64_t epoch_seed(uint64_t seed, int64_t epoch, uint64_t stream);

/// The part of `order` that belongs to `rank` of `ranks`: every `ranks`-th entry from entry `rank` on. So the ranks' next batches
/// of B / `ranks` examples are together the next B examples of `order`. Throws `std::invalid_argument` unless 0 <= rank < ranks.
std::vector<int64_t> shard(const std::vector<int64_t>& order, int64_t rank, int64_t ranks);

/// The size of `shard`'s result for an order of `n` entries.
int64_t shard_size(int64_t n, int64_t rank, int64_t ranks);

}  // namespace respeft::data
