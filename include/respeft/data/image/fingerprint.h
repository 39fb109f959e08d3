#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>

namespace respeft::data {

/// Identifies the images and labels of a split, without reading an image.
struct SplitFingerprint {
  int64_t images = 0;
  std::string sha256;  ///< of every image's name and label, in the dataset's order

  bool operator==(const SplitFingerprint&) const = default;
};

/// Identifies the data of a run.
struct DataFingerprint {
  std::vector<std::string> class_names;
  std::map<std::string, SplitFingerprint> splits;  ///< by the split's name

  bool operator==(const DataFingerprint&) const = default;
};

/// Names are relative to `root`, the PATH of the dataset's `KIND:PATH`, if they are below it.
SplitFingerprint fingerprint(const Dataset& dataset, const std::string& root);

std::string to_json(const DataFingerprint& fingerprint);
/// Throws `std::runtime_error` that names the key and the fault.
DataFingerprint data_fingerprint_from_json(const std::string& json);

/// One line for each difference, e.g. "class 2 was 'cat' and is 'dog'"; a split that only one of them has is none.
std::vector<std::string> differences(const DataFingerprint& before, const DataFingerprint& now);

}  // namespace respeft::data
