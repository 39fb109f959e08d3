#include <respeft/data/image/dataset.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "src/data/image/kinds.h"
#include <respeft/core/text.h>

namespace respeft::data {
namespace {

/// The kind and the path of `KIND:PATH`.
std::pair<const DatasetKind&, std::string> parse(const std::string& spec) {
  std::vector<std::string> names;
  for (const auto& kind : dataset_kinds()) names.push_back(kind.name);
  const size_t colon = spec.find(':');
  if (colon == std::string::npos || colon + 1 == spec.size()) {
    throw std::invalid_argument(fmt::format("data '{}': expected KIND:PATH, where KIND is {}", spec, text::join(names, " or ")));
  }
  const std::string name = spec.substr(0, colon);
  for (const auto& kind : dataset_kinds()) {
    if (kind.name == name) return {kind, spec.substr(colon + 1)};
  }
  throw std::invalid_argument(text::unknown("kind of data", name, names));
}

bool contains(const std::vector<Split>& splits, Split split) {
  return std::find(splits.begin(), splits.end(), split) != splits.end();
}

/// `trainval` is there wherever `train` and `val` are.
std::vector<Split> with_union(std::vector<Split> splits) {
  if (contains(splits, Split::train) && contains(splits, Split::val) && !contains(splits, Split::trainval)) {
    splits.push_back(Split::trainval);
    std::sort(splits.begin(), splits.end());
  }
  return splits;
}

}  // namespace

const std::vector<Split>& all_splits() {
  static const std::vector<Split> splits = {Split::train, Split::val, Split::trainval, Split::test};
  return splits;
}

std::string to_string(Split split) {
  switch (split) {
    case Split::train:
      return "train";
    case Split::val:
      return "val";
    case Split::trainval:
      return "trainval";
    case Split::test:
      return "test";
  }
  throw std::invalid_argument("not a split");
}

Split split_from_name(const std::string& name) {
  std::vector<std::string> names;
  for (Split split : all_splits()) {
    if (to_string(split) == name) return split;
    names.push_back(to_string(split));
  }
  throw std::invalid_argument(text::unknown("split", name, names));
}

DataError::DataError(std::vector<std::string> faults, DatasetPtr rest)
    : std::runtime_error(faults.at(0) + (faults.size() > 1 ? fmt::format(" (and {} more faults)", faults.size() - 1) : "")),
      faults_(std::make_shared<const std::vector<std::string>>(std::move(faults))),
      rest_(std::move(rest)) {}

const std::vector<DatasetKind>& dataset_kinds() {
  static const std::vector<DatasetKind> kinds = {fashion_mnist_kind(), imagefolder_kind(), vtab_kind(), fgvc_kind()};
  return kinds;
}

void require_folder(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return;
  const bool exists = std::filesystem::exists(path, ignored);
  throw std::runtime_error(path + (exists ? ": not a folder" : ": no such folder"));
}

std::vector<Split> listed_splits(const std::string& spec) {
  const auto [kind, path] = parse(spec);
  return kind.splits(path);
}

std::vector<Split> dataset_splits(const std::string& spec) {
  return with_union(listed_splits(spec));
}

std::optional<PublishedFacts> published_facts(const std::string& spec) {
  const auto [kind, path] = parse(spec);
  return kind.published ? std::optional(kind.published(path)) : std::nullopt;
}

DatasetPtr open_dataset(const std::string& spec, Split split) {
  const auto [kind, path] = parse(spec);
  const auto own = kind.splits(path);
  if (contains(own, split)) return kind.open(path, split);
  const auto splits = with_union(own);
  if (!contains(splits, split)) {
    std::vector<std::string> names;
    for (Split there : splits) names.push_back(to_string(there));
    throw std::runtime_error(fmt::format("{}: no {} split; there is {}", spec, to_string(split),
                                         names.empty() ? "none at all" : text::join(names, ", ")));
  }
  const auto train = kind.open(path, Split::train), val = kind.open(path, Split::val);
  return concatenated(
      train, val,
      fmt::format("{}, trainval: {} images of {} classes", kind.name, train->size() + val->size(), train->num_classes()));
}

}  // namespace respeft::data
