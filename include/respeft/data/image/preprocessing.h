#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace respeft::data {

/// How an image becomes a model's input: part of a run's configuration and of every saved adapter and export.
struct Preprocessing {
  std::array<double, 3> mean = {0.5, 0.5, 0.5};  ///< per channel, of values in 0…1
  std::array<double, 3> std = {0.5, 0.5, 0.5};
  int64_t size = 224;                     ///< pixels per side of the model's input
  std::string interpolation = "bicubic";  ///< `bicubic` or `bilinear`, antialiased, as Pillow does it
  /// Pixels that images are resized to before the middle size × size of them is cut out; 0: `size`. Never between 0 and `size`.
  int64_t resize_size = 0;
  /// `squash`: to a square of `resize_size`, aspect not kept. `shortest`: the shorter side to `resize_size`, aspect kept.
  std::string resize_mode = "squash";

  /// The side in pixels that `resize_size` means.
  int64_t resized_side() const { return resize_size == 0 ? size : resize_size; }
  /// The same for a model of another size; scales `resize_size` with it.
  Preprocessing at_size(int64_t other) const;

  bool operator==(const Preprocessing&) const = default;
};

/// Throws `std::invalid_argument` unless `resize_size` is 0 or at least `size`.
void check_sizes(const Preprocessing& preprocessing);

/// A JSON object with the members' names as keys; without `resize_size` and `resize_mode` where images are squashed to the size.
std::string to_json(const Preprocessing& preprocessing);
/// Throws `std::invalid_argument` on JSON that is not such an object, and on sizes above 4096 pixels.
Preprocessing preprocessing_from_json(const std::string& json);

}  // namespace respeft::data
