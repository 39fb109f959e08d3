#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/folder.h"
#include "tests/png.h"

namespace respeft::test {

/// An image of one color with some noise; the class decides the color.
inline std::string image_of(int64_t label, int64_t number) {
  constexpr int kSide = 16;
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < kSide * kSide; ++i) {
    for (int64_t channel = 0; channel < 3; ++channel) {
      const int64_t noise = (i * 31 + number * 17 + channel * 7) % 120;
      pixels.push_back(static_cast<uint8_t>((channel == label ? 60 : 0) + noise));
    }
  }
  return png(kSide, kSide, pixels);
}

/// Three classes `a`, `b`, `c` of colored images, sorted by class in each split of an image folder: 12 to train on, 6 to choose
/// by, 6 to test.
inline void write_colored_images(const Folder& folder, const std::string& name) {
  for (const auto& [split, count] : {std::pair("train", 4), std::pair("val", 2), std::pair("test", 2)}) {
    for (int64_t label = 0; label < 3; ++label) {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t number = static_cast<int64_t>(std::string(split).size()) * 10 + i;
        folder.write(name + "/" + split + "/" + "abc"[label] + "/" + std::to_string(i) + ".png", image_of(label, number));
      }
    }
  }
}

}  // namespace respeft::test
