#include <respeft/data/dataset.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "src/data/kinds.h"
#include "src/util/text.h"

namespace respeft::data {
namespace {

/// The kind and the path of `KIND:PATH`.
std::pair<const DatasetKind&, std::string> parse(const std::string& spec) {
  std::vector<std::string> names;
  for (const auto& kind : dataset_kinds()) names.push_back(kind.name);
  const size_t colon = spec.find(':');
  if (colon == std::string::npos || colon + 1 == spec.size()) {
    throw std::invalid_argument(fmt::format("data '{}': expected KIND:PATH, where KIND is {}", spec, util::join(names, " or ")));
  }
  const std::string name = spec.substr(0, colon);
  for (const auto& kind : dataset_kinds()) {
    if (kind.name == name) return {kind, spec.substr(colon + 1)};
  }
  throw std::invalid_argument(util::unknown("kind of data", name, names));
}

}  // namespace

std::string to_string(Split split) {
  return split == Split::train ? "train" : split == Split::val ? "val" : "test";
}

const std::vector<DatasetKind>& dataset_kinds() {
  static const std::vector<DatasetKind> kinds = {fashion_mnist_kind(), imagefolder_kind()};
  return kinds;
}

void require_folder(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return;
  const bool exists = std::filesystem::exists(path, ignored);
  throw std::runtime_error(path + (exists ? ": not a folder" : ": no such folder"));
}

std::vector<Split> dataset_splits(const std::string& spec) {
  const auto [kind, path] = parse(spec);
  return kind.splits(path);
}

DatasetPtr open_dataset(const std::string& spec, Split split) {
  const auto [kind, path] = parse(spec);
  const auto splits = kind.splits(path);
  if (std::find(splits.begin(), splits.end(), split) == splits.end()) {
    std::vector<std::string> names;
    for (Split there : splits) names.push_back(to_string(there));
    throw std::runtime_error(fmt::format("{}: no {} split; there is {}", spec, to_string(split),
                                         names.empty() ? "none at all" : util::join(names, ", ")));
  }
  return kind.open(path, split);
}

}  // namespace respeft::data
