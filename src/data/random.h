#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

// std::shuffle and the standard's distributions differ between implementations; the engines' raw outputs do not.
namespace respeft::data {

/// A seed of two numbers: SplitMix64's finalizer (Steele, Lea, Flood 2014) over both.
inline uint64_t mix(uint64_t a, uint64_t b) {
  const auto finalize = [](uint64_t z) {
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  };
  return finalize(finalize(a) ^ b);
}

/// Uniform on 0 … bound - 1, by rejection.
inline uint64_t draw_below(std::mt19937_64& generator, uint64_t bound) {
  const uint64_t excess = (UINT64_MAX % bound + 1) % bound;  // 2^64 mod bound
  uint64_t value;
  do value = generator();
  while (value > UINT64_MAX - excess);
  return value % bound;
}

/// Fisher and Yates' shuffle.
inline void shuffle(std::vector<int64_t>& values, std::mt19937_64& generator) {
  for (size_t left = values.size(); left > 1; --left) std::swap(values[left - 1], values[draw_below(generator, left)]);
}

}  // namespace respeft::data
