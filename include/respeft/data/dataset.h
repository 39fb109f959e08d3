#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <respeft/data/image.h>
#include <respeft/data/transforms.h>

namespace respeft::data {

enum class Split { train, val, test };

/// `"train"`, `"val"`, `"test"`.
std::string to_string(Split split);

/// Labelled images. All members may be called from several threads at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  /// The class of image `index`: 0 … classes - 1.
  virtual int64_t label(int64_t index) const = 0;
  /// Decodes image `index`. Throws `std::runtime_error` naming the file and the fault.
  virtual Image load(int64_t index) const = 0;
  /// Where image `index` comes from: its path, or the file and its number in it.
  virtual std::string item_name(int64_t index) const = 0;
  virtual const std::vector<std::string>& class_names() const = 0;
  /// One line: kind, place, split, number of images and classes.
  virtual std::string description() const = 0;

  int64_t num_classes() const { return static_cast<int64_t>(class_names().size()); }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// A layout of files that data can be read from.
struct DatasetKind {
  std::string name;     ///< as in `name:PATH`
  std::string summary;  ///< one line
  /// The splits that are there, in the order train, val, test. Throws `std::runtime_error` if the path does not exist.
  std::function<std::vector<Split>(const std::string& path)> splits;
  std::function<DatasetPtr(const std::string& path, Split split)> open;
};

/// Every kind, in the order they are documented. A new kind is one file and one line here.
const std::vector<DatasetKind>& dataset_kinds();

/// Opens one split of `KIND:PATH`, e.g. `imagefolder:pets`. Throws `std::invalid_argument` when the kind is unknown (with
/// what may have been meant) or missing, `std::runtime_error` naming file or folder and the fault when the data are not as
/// they should be or the split is not there.
DatasetPtr open_dataset(const std::string& spec, Split split);

/// The splits of `KIND:PATH` that are there. Errors as `open_dataset`.
std::vector<Split> dataset_splits(const std::string& spec);

/// `count` images drawn with `seed`, class-balanced: each class gives as many as every other (one more for some where it does not
/// divide), or all it has, the rest coming from the others. In the data set's own order. A larger draw with the
/// same seed contains a smaller one. A pure function of the labels,
/// `count` and `seed`, the same on every platform. Throws `std::invalid_argument` unless 1 <= count <= size.
DatasetPtr subset(DatasetPtr dataset, int64_t count, uint64_t seed);

/// The first `count` images, or all where there are fewer. Throws `std::invalid_argument` if count < 1.
DatasetPtr first(DatasetPtr dataset, int64_t count);

/// Keeps each image in memory after its first use, resized by `transform` (`size * size * 3` bytes an image).
DatasetPtr cached(DatasetPtr dataset, const Transform& transform);

}  // namespace respeft::data
