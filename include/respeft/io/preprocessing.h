#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace respeft::io {

/// How an image becomes a model's input: part of a run's configuration and of every saved adapter and export.
struct Preprocessing {
  std::array<double, 3> mean = {0.5, 0.5, 0.5};  ///< per channel, of values in 0…1
  std::array<double, 3> std = {0.5, 0.5, 0.5};
  int64_t size = 224;                     ///< pixels; images are resized to size × size, aspect not kept
  std::string interpolation = "bicubic";  ///< `bicubic` or `bilinear`, antialiased, as Pillow does it

  bool operator==(const Preprocessing&) const = default;
};

/// A JSON object with the members' names as keys.
std::string to_json(const Preprocessing& preprocessing);
/// Throws `std::invalid_argument` on JSON that is not such an object.
Preprocessing preprocessing_from_json(const std::string& json);

}  // namespace respeft::io
