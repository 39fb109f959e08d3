#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/data/image/image_list.h"

// What kinds of datasets have in common, most of all those that are a folder of known ones: KIND:ROOT/DATASET.
namespace respeft::data {

/// The folder's own name: the last part of `path`.
std::string folder_name(const std::string& path);

/// Throws `std::runtime_error` unless `path` is a folder; says which name of `known` was likely meant.
void require_dataset_folder(const std::string& path, const std::vector<std::string>& known);

/// Throws the `std::invalid_argument` for a folder whose name is not a dataset's: if `path` is a root with the datasets
/// `present`, that one of them has to be named, and otherwise which of `known` may have been meant.
[[noreturn]] void throw_unknown_dataset(const std::string& kind, const std::string& path, const std::vector<std::string>& known,
                                        const std::vector<std::string>& present);

/// What is wrong with `name` as the path of an image inside a dataset's folder; empty when nothing is. Lists are not trusted
/// to name files elsewhere.
std::string image_path_fault(const std::string& name);

/// The list or folder that was read; throws `DataError` if there were faults, `std::runtime_error` if it is empty.
DatasetPtr checked_list(const std::string& list_path, const std::string& what, std::vector<ListedImage> images,
                        std::vector<std::string> class_names, std::vector<std::string> faults);

/// What is wrong with a pipe, socket or device as an image; empty for everything else.
std::string special_file(std::filesystem::file_type type);

}  // namespace respeft::data
