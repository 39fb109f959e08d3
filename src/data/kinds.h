#pragma once

#include <respeft/data/dataset.h>

namespace respeft::data {

DatasetKind fashion_mnist_kind();
DatasetKind imagefolder_kind();

/// Throws `std::runtime_error` unless `path` is a folder.
void require_folder(const std::string& path);

}  // namespace respeft::data
