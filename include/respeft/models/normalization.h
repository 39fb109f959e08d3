#pragma once

#include <array>
#include <optional>
#include <string>

namespace respeft::models {

/// Mean and standard deviation that a checkpoint's images were normalized with when it was trained.
struct Normalization {
  std::array<double, 3> mean, std;
  std::string source;  ///< how this is known
};

}  // namespace respeft::models
