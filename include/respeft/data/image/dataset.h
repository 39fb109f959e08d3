#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <respeft/data/image/image.h>
#include <respeft/data/image/transforms.h>

namespace respeft::data {

/// `trainval` is `train` and `val` together: what is trained on once nothing is left to choose.
enum class Split { train, val, trainval, test };

/// All of them, in the order above.
const std::vector<Split>& all_splits();

/// `"train"`, `"val"`, `"trainval"`, `"test"`.
std::string to_string(Split split);
/// The other way round. Throws `std::invalid_argument` that suggests what may have been meant.
Split split_from_name(const std::string& name);

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
  /// The path of the JPEG or PNG file that image `index` is; nothing where images are not files of their own.
  virtual std::optional<std::string> file(int64_t /*index*/) const { return std::nullopt; }
  virtual const std::vector<std::string>& class_names() const = 0;
  /// One line: kind, place, split, number of images and classes.
  virtual std::string description() const = 0;

  int64_t num_classes() const { return static_cast<int64_t>(class_names().size()); }
};

using DatasetPtr = std::shared_ptr<const Dataset>;

/// The list of a split's images has faults, e.g. labels that are not below the number of classes. The message is the first
/// one, and how many more there are.
class DataError : public std::runtime_error {
 public:
  /// At least one fault; `rest`: the images without a fault, or null.
  DataError(std::vector<std::string> faults, DatasetPtr rest);

  /// Each names the file, the line or entry, and the fault.
  const std::vector<std::string>& faults() const { return *faults_; }
  const DatasetPtr& rest() const { return rest_; }

 private:
  std::shared_ptr<const std::vector<std::string>> faults_;  ///< shared, because copying an exception must not throw
  DatasetPtr rest_;
};

/// What is published about a dataset.
struct PublishedFacts {
  std::string name;  ///< e.g. `VTAB-1k's cifar`
  int64_t classes = 0;
  std::map<Split, int64_t> images;  ///< how many each split has
};

/// Shares of a folder's images that its splits get; they sum up to 1.
struct SplitShares {
  double train = 1.0, val = 0.0, test = 0.0;
};

/// Reads `"0.8"` (train; the rest is test), `"0.8,0.2"` (train, test) or `"0.8,0.1,0.1"` (train, val, test). Throws
/// `std::invalid_argument` unless the shares are above 0 (val's may be 0) and sum up to 1.
SplitShares split_shares_from_text(const std::string& text);

/// How a dataset is opened.
struct DatasetOptions {
  /// Shares (see `split_shares_from_text`) by which an `imagefolder` of classes without train/ and test/ is split. Each class is
  /// split alone, by its images' paths in the folder and a constant seed: always in the same way. Empty: the data have splits.
  std::string split;
};

/// A layout of files that data can be read from.
struct DatasetKind {
  std::string name;     ///< as in `name:PATH`
  std::string summary;  ///< one line
  /// The splits that have a list or folder of their own there, in the order of `all_splits`. Throws `std::runtime_error` if
  /// the path does not exist.
  std::function<std::vector<Split>(const std::string& path)> splits;
  /// Opens one of these.
  std::function<DatasetPtr(const std::string& path, Split split)> open;
  /// What is published about the dataset at this path; null where nothing is.
  std::function<PublishedFacts(const std::string& path)> published = nullptr;
  /// Opens one split of a folder without splits, by shares; null where the layout has splits always.
  std::function<DatasetPtr(const std::string& path, Split split, const SplitShares& shares)> divide = nullptr;
  /// One line for an error about a split that is missing, e.g. which folders were looked for; null: nothing to add.
  std::function<std::string(const std::string& path)> explain_missing = nullptr;
  /// Remarks on how the files there are understood, e.g. folders that are not read; null: none.
  std::function<std::vector<std::string>(const std::string& path)> remarks = nullptr;
};

/// Every kind, in the order they are documented. A new kind is one file and one line here.
const std::vector<DatasetKind>& dataset_kinds();

/// Opens one split of `KIND:PATH`, e.g. `imagefolder:pets`. Throws `std::invalid_argument` when the kind or, for a benchmark
/// such as `vtab`, the dataset is unknown (with what may have been meant) or missing, `std::runtime_error` naming file or
/// folder and the fault when the data are not as they should be or the split is not there; `DataError` (one of these) when a
/// list has faults. `trainval` is the kind's own list where it has one, and otherwise `train` followed by `val`.
/// `std::invalid_argument` also where `options.split` is given for data that have splits of their own.
DatasetPtr open_dataset(const std::string& spec, Split split, const DatasetOptions& options = {});

/// The splits of `KIND:PATH` that are there, in the order of `all_splits`: `trainval` wherever `train` and `val` are.
/// Errors as `open_dataset`.
std::vector<Split> dataset_splits(const std::string& spec, const DatasetOptions& options = {});

/// What is published about the dataset at `KIND:PATH`, if anything is. Errors as `open_dataset`.
std::optional<PublishedFacts> published_facts(const std::string& spec);

/// `count` images drawn with `seed`, class-balanced: each class gives as many as every other (one more for some where it does not
/// divide), or all it has, the rest coming from the others. In the dataset's own order. A larger draw with the
/// same seed contains a smaller one. A pure function of the labels,
/// `count` and `seed`, the same on every platform. Throws `std::invalid_argument` unless 1 <= count <= size.
DatasetPtr subset(DatasetPtr dataset, int64_t count, uint64_t seed);

/// The first `count` images, or all where there are fewer. Throws `std::invalid_argument` if count < 1.
DatasetPtr first(DatasetPtr dataset, int64_t count);

/// The images of `head`, then those of `tail`. Throws `std::invalid_argument` if their classes differ.
DatasetPtr concatenated(DatasetPtr head, DatasetPtr tail, const std::string& description);

/// Keeps each image in memory after its first use, resized by `transform` but not cropped, so that each use may crop anew.
/// Throws `std::invalid_argument` where the transform does not read resized images.
DatasetPtr cached(DatasetPtr dataset, const Transform& transform);

/// Bytes that an image takes there: of one that is twice as long as wide, where the transform keeps the aspect.
int64_t cached_bytes(const Transform& transform);

}  // namespace respeft::data
