#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/dataset.h>

// A dataset looked over before hours are spent on it.
namespace respeft::data {

enum class Severity {
  note,     ///< worth knowing
  warning,  ///< figures may not mean what they seem to
  error,    ///< training would fail, or its figures be wrong
};

/// `"note"`, `"warning"`, `"error"`.
std::string to_string(Severity severity);

struct Finding {
  Severity severity;
  std::string check;    ///< `lists`, `files`, `sizes`, `classes`, `duplicates`, `balance`, `images`; of weights: `keys`, …
  std::string message;  ///< one line
  std::vector<std::string> items = {};  ///< everything that it is about, e.g. the path and the fault of every file
};

struct SplitSummary {
  Split split;
  int64_t images = 0;
  std::optional<int64_t> published;   ///< how many are published
  std::vector<int64_t> class_images;  ///< by class
};

/// What the images are like; each that several lists have is counted once.
struct ImageSummary {
  int64_t images = 0, unreadable = 0;
  std::map<std::string, int64_t> kinds;                    ///< how they are stored, e.g. `JPEG RGB`, `PNG gray 16 bit alpha`
  std::array<int64_t, 2> smallest{}, median{}, largest{};  ///< width and height, upright, by area
};

struct DataReport {
  std::string name;  ///< the published name where there is one, or else the spec
  std::vector<std::string> class_names;
  std::vector<SplitSummary> splits;
  ImageSummary images;
  std::vector<Finding> findings;  ///< the worst first
};

struct CheckOptions {
  DatasetOptions dataset = {};  ///< how the data are opened
  int64_t workers = 2;          ///< threads that read images
  bool any_size = false;        ///< other numbers of images and classes than the published ones are no error
  std::function<void(int64_t done, int64_t total)> progress = nullptr;  ///< called from the caller's thread
};

/// Opens every split of `KIND:PATH` and decodes every image. Looks for
/// - faults in the lists, lists that are missing, and images that are missing or cannot be read: all of them;
/// - numbers of images and classes that are not the published ones, classes without images, a `trainval` list that is not
///   `train` and `val` together, a large class beside small ones;
/// - images that occur twice, in one split or in several: equal in every decoded pixel (by SHA-256 of size and pixels), however
///   they are stored; and equal images with different labels;
/// - what decoding changes: CMYK, 16 bit, alpha, EXIF orientation.
/// Throws as `open_dataset` where there is no dataset to look at.
DataReport check_data(const std::string& spec, const CheckOptions& options = {});

/// Whether one is this bad or worse.
bool has_findings(const std::vector<Finding>& findings, Severity at_least);

}  // namespace respeft::data
