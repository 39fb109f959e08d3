#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>

// Checks of a dataset before training.
namespace respeft::data {

enum class Severity {
  note,     ///< information
  warning,  ///< results may be misleading
  error,    ///< training would fail, or its results would be wrong
};

/// `"note"`, `"warning"`, `"error"`.
std::string to_string(Severity severity);

struct Finding {
  Severity severity;
  std::string check;    ///< `lists`, `files`, `sizes`, `classes`, `duplicates`, `balance`, `images`; of weights: `keys`, …
  std::string message;  ///< one line
  std::vector<std::string> items = {};  ///< everything it concerns, e.g. the path and the fault of each file
};

struct SplitSummary {
  Split split;
  int64_t images = 0;
  std::optional<int64_t> published;   ///< published number of images
  std::vector<int64_t> class_images;  ///< number of images by class
};

/// Statistics of the images. An image that is in several lists counts once.
struct ImageSummary {
  int64_t images = 0, unreadable = 0;
  std::map<std::string, int64_t> kinds;                    ///< number by storage format, e.g. `JPEG RGB`, `PNG gray 16 bit alpha`
  std::array<int64_t, 2> smallest{}, median{}, largest{};  ///< width and height, upright, by area
};

struct DataReport {
  std::string name;  ///< the published name, or the spec if there is none
  std::vector<std::string> class_names;
  std::vector<SplitSummary> splits;
  ImageSummary images;
  std::vector<Finding> findings;  ///< most severe first
};

struct CheckOptions {
  DatasetOptions dataset = {};  ///< how the data are opened
  int64_t workers = 2;          ///< threads that read images
  bool any_size = false;        ///< other numbers of images and classes than the published ones are no error
  std::function<void(int64_t done, int64_t total)> progress = nullptr;  ///< called from the caller's thread
};

/// Opens every split of `KIND:PATH` and decodes every image. Finds
/// - all faults in lists, missing lists, and images that are missing or cannot be read;
/// - numbers of images and classes that differ from the published ones, classes without images, a `trainval` list that is not
///   the union of `train` and `val`, and a large class beside small ones;
/// - images that occur twice, in one split or in several (equal in size and every decoded pixel, by SHA-256), also with different
///   labels;
/// - images that decoding changes: CMYK, 16 bit, alpha, EXIF orientation.
/// Throws as `open_dataset` if there is no dataset.
DataReport check_data(const std::string& spec, const CheckOptions& options = {});

/// True if any finding has at least this severity.
bool has_findings(const std::vector<Finding>& findings, Severity at_least);

}  // namespace respeft::data
