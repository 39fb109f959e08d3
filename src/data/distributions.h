#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <random>

// Written out for the reason that random.h gives: the standard's own distributions differ between implementations.
namespace respeft::data {

/// Uniform on [0, 1), in steps of 2^-53.
inline double draw_uniform(std::mt19937_64& generator) {
  return static_cast<double>(generator() >> 11) * 0x1p-53;
}

/// Uniform on [low, high).
inline double draw_uniform(std::mt19937_64& generator, double low, double high) {
  return low + (high - low) * draw_uniform(generator);
}

/// Standard normal (Box & Muller 1958).
inline double draw_normal(std::mt19937_64& generator) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - draw_uniform(generator)));
  return radius * std::cos(2.0 * std::numbers::pi * draw_uniform(generator));
}

/// The logarithm of a draw from Gamma(shape, 1), shape > 0 (Marsaglia & Tsang 2000). The logarithm, since for small shapes
/// most draws are too small for a double.
inline double draw_log_gamma(std::mt19937_64& generator, double shape) {
  if (shape < 1.0) {  // Gamma(shape) = Gamma(shape + 1) · U^(1/shape)
    const double log_uniform = std::log(1.0 - draw_uniform(generator));
    return draw_log_gamma(generator, shape + 1.0) + log_uniform / shape;
  }
  const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double x = draw_normal(generator), root = 1.0 + c * x;
    if (root <= 0.0) continue;
    const double v = root * root * root;
    if (std::log(1.0 - draw_uniform(generator)) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

/// Beta(a, b), a and b > 0.
inline double draw_beta(std::mt19937_64& generator, double a, double b) {
  const double log_x = draw_log_gamma(generator, a), log_y = draw_log_gamma(generator, b);
  return 1.0 / (1.0 + std::exp(log_y - log_x));
}

}  // namespace respeft::data
