#include <respeft/data/sampler.h>

#include <fmt/format.h>

#include <numeric>
#include <random>
#include <stdexcept>

#include "src/data/random.h"

namespace respeft::data {

std::vector<int64_t> sequential_order(int64_t n) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> epoch_order(int64_t n, uint64_t seed, int64_t epoch) {
  auto order = sequential_order(n);
  std::mt19937_64 generator(epoch_seed(seed, epoch));
  shuffle(order, generator);
  return order;
}

uint64_t epoch_seed(uint64_t seed, int64_t epoch) {
  return mix(seed, static_cast<uint64_t>(epoch));
}

uint64_t epoch_seed(uint64_t seed, int64_t epoch, uint64_t stream) {
  return mix(epoch_seed(seed, epoch), stream);
}

std::vector<int64_t> shard(const std::vector<int64_t>& order, int64_t rank, int64_t ranks) {
  if (rank < 0 || rank >= ranks) throw std::invalid_argument(fmt::format("shard: rank {} of {}", rank, ranks));
  std::vector<int64_t> part;
  for (size_t i = static_cast<size_t>(rank); i < order.size(); i += static_cast<size_t>(ranks)) part.push_back(order[i]);
  return part;
}

int64_t shard_size(int64_t n, int64_t rank, int64_t ranks) {
  return n <= rank ? 0 : (n - rank + ranks - 1) / ranks;
}

}  // namespace respeft::data
