#include <respeft/data/image/dataset.h>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <utility>

#include <respeft/core/text.h>
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

/// What `KIND:PATH` and its options say.
struct Parsed {
  const DatasetKind& kind;
  std::string path;
  std::optional<SplitShares> shares;

  std::vector<Split> splits() const {
    if (!shares) return kind.splits(path);
    require_folder(path);
    return shares->val > 0 ? std::vector{Split::train, Split::val, Split::test} : std::vector{Split::train, Split::test};
  }
  DatasetPtr open(Split split) const { return shares ? kind.divide(path, split, *shares) : kind.open(path, split); }
};

std::optional<SplitShares> shares_of(const DatasetKind& kind, const DatasetOptions& options) {
  if (options.split.empty()) return std::nullopt;
  if (!kind.divide)
    throw std::invalid_argument(
        fmt::format("split: {} data have splits of their own; only a folder of classes is split by shares", kind.name));
  return split_shares_from_text(options.split);
}

Parsed parse(const std::string& spec, const DatasetOptions& options) {
  std::vector<std::string> names;
  for (const auto& kind : dataset_kinds()) names.push_back(kind.name);
  const size_t colon = spec.find(':');
  if (colon == std::string::npos || colon + 1 == spec.size()) {
    throw std::invalid_argument(fmt::format("data '{}': expected KIND:PATH, where KIND is {}", spec, text::join(names, " or ")));
  }
  const std::string name = spec.substr(0, colon);
  for (const auto& kind : dataset_kinds()) {
    if (kind.name == name) return {kind, spec.substr(colon + 1), shares_of(kind, options)};
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
    : Error(faults.at(0) + (faults.size() > 1 ? fmt::format(" (and {} more faults)", faults.size() - 1) : "")),
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

std::vector<Split> listed_splits(const std::string& spec, const DatasetOptions& options) {
  return parse(spec, options).splits();
}

std::vector<std::string> dataset_remarks(const std::string& spec, const DatasetOptions& options) {
  const auto parsed = parse(spec, options);
  return parsed.kind.remarks ? parsed.kind.remarks(parsed.path, parsed.shares.has_value()) : std::vector<std::string>();
}

std::vector<Split> dataset_splits(const std::string& spec, const DatasetOptions& options) {
  return with_union(listed_splits(spec, options));
}

std::optional<PublishedFacts> published_facts(const std::string& spec) {
  const auto parsed = parse(spec, {});
  return parsed.kind.published ? std::optional(parsed.kind.published(parsed.path)) : std::nullopt;
}

SplitShares split_shares_from_text(const std::string& text) {
  const auto fail = [&](const char* fault) {
    throw std::invalid_argument(fmt::format(
        "split: '{}': {}; expected shares such as 0.8 (train), 0.8,0.2 (train, test) or 0.8,0.1,0.1 (train, val, test)", text,
        fault));
  };
  std::vector<double> shares;
  for (const auto& part : text::split(text, ',')) {
    double share = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), share);
    if (error != std::errc() || end != part.data() + part.size()) fail("not a list of numbers");
    shares.push_back(share);
  }
  if (shares.size() == 1) shares.push_back(1.0 - shares[0]);
  if (shares.size() == 2) shares.insert(shares.begin() + 1, 0.0);
  if (shares.size() != 3) fail("not one, two or three numbers");
  const SplitShares found{shares[0], shares[1], shares[2]};
  constexpr double smallest = 1e-6;
  if (!(found.train > smallest && found.val >= 0.0 && found.test > smallest)) fail("train and test need a share above 0 each");
  if (!(std::abs(found.train + found.val + found.test - 1.0) < smallest)) fail("the shares do not sum up to 1");
  return found;
}

DatasetPtr open_dataset(const std::string& spec, Split split, const DatasetOptions& options) {
  const auto parsed = parse(spec, options);
  const auto own = parsed.splits();
  if (contains(own, split)) return parsed.open(split);
  const auto splits = with_union(own);
  if (!contains(splits, split)) {
    std::vector<std::string> names;
    for (Split there : splits) names.push_back(to_string(there));
    const std::string why = parsed.kind.explain_missing && !parsed.shares ? parsed.kind.explain_missing(parsed.path) : "";
    throw std::runtime_error(fmt::format("{}: no {} split; there is {}{}{}", spec, to_string(split),
                                         names.empty() ? "none at all" : text::join(names, ", "), why.empty() ? "" : ": ", why));
  }
  const auto train = parsed.open(Split::train), val = parsed.open(Split::val);
  return concatenated(
      train, val,
      fmt::format("{}, trainval: {} images of {} classes", parsed.kind.name, train->size() + val->size(), train->num_classes()));
}

}  // namespace respeft::data
