#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <respeft/core/error.h>
#include <respeft/data/image/image.h>
#include <respeft/data/image/transforms.h>

namespace respeft::data {

/// `trainval` is the union of `train` and `val`, for training after all choices are made.
enum class Split { train, val, trainval, test };

/// All splits, in the order above.
const std::vector<Split>& all_splits();

/// `"train"`, `"val"`, `"trainval"`, `"test"`.
std::string to_string(Split split);
/// The split of that name. Throws `std::invalid_argument` that suggests a similar name.
Split split_from_name(const std::string& name);

/// Labeled images. Several threads may call all members at once.
class Dataset {
 public:
  virtual ~Dataset() = default;

  virtual int64_t size() const = 0;
  /// The class of image `index`: 0 … classes - 1.
  virtual int64_t label(int64_t index) const = 0;
  /// Decodes image `index`. Throws `std::runtime_error` that names the file and the fault.
  virtual Image load(int64_t index) const = 0;
  /// Origin of image `index`: its path, or the file and the image's number in it.
  virtual std::string item_name(int64_t index) const = 0;
  /// Path of the JPEG or PNG file of image `index`; nothing if images are not separate files.
  virtual std::optional<std::string> file(int64_t /*index*/) const { return std::nullopt; }
  virtual const std::vector<std::string>& class_names() const = 0;
  /// One line: kind, path, split, number of images and classes.
  virtual std::string description() const = 0;

  int64_t num_classes() const { return static_cast<int64_t>(class_names().size()); }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// Thrown when a split's file list is invalid, e.g. has labels out of range. `what()` gives the first fault and the number of
/// others.
class DataError : public Error {
 public:
  /// `faults` has at least one element; `rest` are the images without a fault, or null.
  DataError(std::vector<std::string> faults, DatasetPtr rest);

  /// Each names the file, the line or entry, and the fault.
  const std::vector<std::string>& faults() const { return *faults_; }
  const DatasetPtr& rest() const { return rest_; }

 private:
  std::shared_ptr<const std::vector<std::string>> faults_;  ///< shared, because copying an exception must not throw
  DatasetPtr rest_;
};

/// Published facts about a dataset.
struct PublishedFacts {
  std::string name;  ///< e.g. `VTAB-1k's cifar`
  int64_t classes = 0;
  std::map<Split, int64_t> images;  ///< number of images by split
};

/// Shares of a folder's images for its splits; their sum is 1.
struct SplitShares {
  double train = 1.0, val = 0.0, test = 0.0;
};

/// Reads `"0.8"` (train; the rest is test), `"0.8,0.2"` (train, test) or `"0.8,0.1,0.1"` (train, val, test). Throws
/// `std::invalid_argument` unless the shares are positive (val's may be 0) and their sum is 1.
SplitShares split_shares_from_text(const std::string& text);

/// How a dataset is opened.
struct DatasetOptions {
  /// Shares (see `split_shares_from_text`) for splitting an `imagefolder` of classes without train/ and test/. Each class is
  /// split separately, by its images' paths in the folder and a constant seed, so always in the same way. Empty: the data have
  /// splits.
  std::string split;
};

/// A file layout of datasets.
struct DatasetKind {
  std::string name;     ///< as in `name:PATH`
  std::string summary;  ///< one line
  /// The splits that have a list or folder at `path`, in the order of `all_splits`. Throws `std::runtime_error` if the path does
  /// not exist.
  std::function<std::vector<Split>(const std::string& path)> splits;
  /// Opens one of these splits.
  std::function<DatasetPtr(const std::string& path, Split split)> open;
  /// Published facts about the dataset at `path`; null if there are none.
  std::function<PublishedFacts(const std::string& path)> published = nullptr;
  /// Opens one split, by shares, of a folder without splits; null if the layout always has splits.
  std::function<DatasetPtr(const std::string& path, Split split, const SplitShares& shares)> divide = nullptr;
  /// One line for errors about a missing split, e.g. the expected folders; null: nothing to add.
  std::function<std::string(const std::string& path)> explain_missing = nullptr;
  /// Remarks on how the files are read, e.g. ignored folders; `divided`: by shares. Null: none.
  std::function<std::vector<std::string>(const std::string& path, bool divided)> remarks = nullptr;
};

/// Every kind, in the order of the documentation. A new kind is one file and one line here.
const std::vector<DatasetKind>& dataset_kinds();

/// Opens one split of `KIND:PATH`, e.g. `imagefolder:pets`. `trainval` is the kind's own list if it has one, otherwise `train`
/// followed by `val`. Throws `std::invalid_argument` if the kind or a benchmark's dataset is unknown or missing, or if
/// `options.split` is given for data with splits of their own. Throws `std::runtime_error` that names the file or folder and the
/// fault if the data are invalid or the split is missing (`DataError` if a list has faults).
DatasetPtr open_dataset(const std::string& spec, Split split, const DatasetOptions& options = {});

/// The splits of `KIND:PATH` that exist, in the order of `all_splits`; `trainval` exists if `train` and `val` do.
/// Errors as `open_dataset`.
std::vector<Split> dataset_splits(const std::string& spec, const DatasetOptions& options = {});

/// Published facts about the dataset at `KIND:PATH`, if there are any. Errors as `open_dataset`.
std::optional<PublishedFacts> published_facts(const std::string& spec);

/// Draws `count` images with `seed`, class-balanced: the same number from each class (one more from some if it does not divide);
/// a class with too few gives all it has. Keeps the dataset's order. A larger draw with the same seed contains a smaller one.
/// The result depends only on the labels, `count` and `seed`, on every platform. Throws `std::invalid_argument` unless
/// 1 <= count <= size.
DatasetPtr subset(DatasetPtr dataset, int64_t count, uint64_t seed);

/// At most `count` images to measure on: `subset`, or all if there are fewer. The same images for every run that measures on
/// this many. Throws `std::invalid_argument` if count < 1.
DatasetPtr sample(DatasetPtr dataset, int64_t count, uint64_t seed = 0);

/// The first `count` images, or all if there are fewer. Throws `std::invalid_argument` if count < 1.
DatasetPtr first(DatasetPtr dataset, int64_t count);

/// The images of `head` followed by those of `tail`. Throws `std::invalid_argument` if their classes differ.
DatasetPtr concatenated(DatasetPtr head, DatasetPtr tail, const std::string& description);

/// Caches each image in memory after its first use, resized by `transform` but not cropped, so that each use can crop at random.
/// Throws `std::invalid_argument` if the transform does not take resized images.
DatasetPtr cached(DatasetPtr dataset, const Transform& transform);

/// Bytes of a cached image. If the transform keeps the aspect ratio, those of an image twice as long as wide.
int64_t cached_bytes(const Transform& transform);

}  // namespace respeft::data
