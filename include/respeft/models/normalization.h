#pragma once

#include <array>
#include <optional>
#include <string>

namespace respeft::models {

/// Mean and standard deviation (per channel, for values in 0 … 1) that weights were trained with.
struct Normalization {
  std::array<double, 3> mean, std;
  std::string source;  ///< where this is known from
};

}  // namespace respeft::models
