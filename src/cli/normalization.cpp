#include "src/cli/normalization.h"

#include <fmt/format.h>

#include <cmath>

namespace respeft::cli {
namespace {

/// The same up to the digits that are usually written.
bool alike(const std::array<double, 3>& a, const std::array<double, 3>& b) {
  for (size_t c = 0; c < 3; ++c) {
    if (std::abs(a[c] - b[c]) > 1e-3) return false;
  }
  return true;
}

}  // namespace

std::string channels_text(const std::array<double, 3>& values) {
  return fmt::format("{:.4g},{:.4g},{:.4g}", values[0], values[1], values[2]);
}

std::string normalization_mismatch(const models::Normalization& known, const data::Preprocessing& planned) {
  if (alike(known.mean, planned.mean) && alike(known.std, planned.std)) return "";
  const std::string mean = channels_text(known.mean), std = channels_text(known.std);
  return fmt::format(
      "the weights were trained with mean {} and std {} ({}), but training would use {} and {}: give --mean {} --std {}", mean,
      std, known.source, channels_text(planned.mean), channels_text(planned.std), mean, std);
}

}  // namespace respeft::cli
