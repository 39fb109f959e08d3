#pragma once

#include <respeft/data/image/dataset.h>

namespace respeft::data {

DatasetKind fashion_mnist_kind();
DatasetKind imagefolder_kind();
DatasetKind vtab_kind();
DatasetKind fgvc_kind();

/// The splits of `KIND:PATH` that have a list or folder of their own: those of `dataset_splits`, but a `trainval` that is only
/// `train` followed by `val`. Errors as `open_dataset`.
std::vector<Split> listed_splits(const std::string& spec, const DatasetOptions& options);

/// Remarks on how the files of `KIND:PATH` are understood. Errors as `open_dataset`.
std::vector<std::string> dataset_remarks(const std::string& spec, const DatasetOptions& options);

/// Throws `std::runtime_error` unless `path` is a folder.
void require_folder(const std::string& path);

}  // namespace respeft::data
