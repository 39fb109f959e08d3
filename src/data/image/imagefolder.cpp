#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>

#include <respeft/core/text.h>
#include <respeft/formats/file.h>

#include "src/data/image/benchmark.h"
#include "src/data/image/image_walk.h"
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

namespace fs = std::filesystem;

/// Names of a split's folder, in any case of letters: those that Hugging Face's `datasets` takes for it (data_files.py,
/// SPLIT_KEYWORDS).
const std::vector<std::pair<Split, std::vector<std::string>>> kFolderNames = {
    {Split::train, {"train", "training"}},
    {Split::val, {"val", "valid", "validation", "dev"}},
    {Split::test, {"test", "testing", "eval", "evaluation"}},
};

std::optional<Split> split_of_folder(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const auto& [split, names] : kFolderNames) {
    if (std::find(names.begin(), names.end(), name) != names.end()) return split;
  }
  return std::nullopt;
}

/// The folders in the dataset's folder.
std::vector<std::string> folders_in(const std::string& folder) {
  require_folder(folder);
  std::vector<std::string> faults;
  auto names = ImageWalk(folder).class_folders(folder, faults);
  if (names.empty() && !faults.empty()) throw std::runtime_error(faults.front());
  return names;
}

/// The folder of each split that is there. Throws `std::runtime_error` where two folders are the same split.
std::map<Split, fs::path> split_folders(const std::string& folder) {
  std::map<Split, fs::path> found;
  for (const auto& name : folders_in(folder)) {
    const auto split = split_of_folder(name);
    if (!split) continue;
    const auto [place, is_new] = found.emplace(*split, fs::path(folder) / name);
    if (!is_new) {
      throw std::runtime_error(fmt::format("{}: both {}/ and {}/ are names of the {} split; rename or remove one of them", folder,
                                           place->second.filename().string(), name, to_string(*split)));
    }
  }
  return found;
}

std::vector<Split> folder_splits(const std::string& folder) {
  std::vector<Split> there;
  for (const auto& [split, path] : split_folders(folder)) there.push_back(split);
  return there;
}

/// "cat/, dog/ and 7 more".
std::string listed(const std::vector<std::string>& names) {
  constexpr size_t shown = 5;
  std::vector<std::string> some;
  for (size_t i = 0; i < std::min(shown, names.size()); ++i) some.push_back(text::to_utf8(names[i]) + "/");
  return text::join(some, ", ") + (names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
}

std::string explain_missing(const std::string& folder) {
  const auto there = folders_in(folder);
  std::string text =
      "folders train/, val/ and test/ are looked for (or training/, valid/, validation/, dev/, testing/, eval/, evaluation/)";
  text += there.empty() ? ", and there is no folder" : fmt::format(", and there is {}", listed(there));
  const bool flat = !there.empty() && folder_splits(folder).empty();
  return text + (flat ? "; --split 0.8 splits a folder of classes into train and test" : "");
}

/// Where a split's folder has another name, and which folders and images are not read.
std::vector<std::string> remarks(const std::string& folder, bool divided) {
  std::vector<std::string> lines, others;
  std::vector<fs::path> parents = {folder};  // of folders of classes, or of the splits
  for (const auto& name : divided ? std::vector<std::string>() : folders_in(folder)) {
    const auto split = split_of_folder(name);
    if (split) parents.push_back(fs::path(folder) / name);
    if (!split) others.push_back(name);
    if (split && name != to_string(*split)) lines.push_back(fmt::format("{} is read from {}/", to_string(*split), name));
  }
  if (!others.empty()) lines.push_back(fmt::format("beside the splits there is {}, not read", listed(others)));
  for (const auto& parent : parents) {
    const size_t loose = ImageWalk::loose_images(parent);
    if (loose > 0)
      lines.push_back(fmt::format("{}: {} outside the folders of classes, not read", text::to_utf8(parent.string()),
                                  loose == 1 ? "an image" : fmt::format("{} images", loose)));
  }
  return lines;
}

/// The names of class folders as they are shown and kept, which takes UTF-8.
std::vector<std::string> class_names(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const auto& folder : folders) names.push_back(text::to_utf8(folder));
  return names;
}

/// The classes of all splits together; `faults` receives every folder that a split lacks, for they must agree.
std::vector<std::string> common_classes(const std::map<Split, fs::path>& splits, const ImageWalk& walk,
                                        std::vector<std::string>& faults) {
  std::vector<std::pair<fs::path, std::vector<std::string>>> found;  // by split
  std::map<std::string, fs::path> first;                             // the first split that has a class
  for (const auto& [split, path] : splits) {
    found.emplace_back(path, walk.class_folders(path, faults));
    for (const auto& name : found.back().second) first.emplace(name, path);
  }
  for (const auto& [path, names] : found) {
    if (names.empty()) faults.push_back(path.string() + ": no folders in it; there should be one a class");
    for (const auto& [name, has] : first) {
      if (names.empty() || std::binary_search(names.begin(), names.end(), name)) continue;
      faults.push_back(
          fmt::format("{}: no folder '{}', which {} has: all splits need the same classes", path.string(), name, has.string()));
    }
  }
  std::vector<std::string> classes;
  for (const auto& [name, has] : first) classes.push_back(name);
  return classes;
}

/// The images of one class; a class without any is a fault of a split that is trained on.
std::vector<std::string> images_of_class(const fs::path& folder, const ImageWalk& walk, bool trained_on,
                                         std::vector<std::string>& faults) {
  const size_t before = faults.size();
  auto images = walk.images(folder, faults);
  if (images.empty() && faults.size() == before && trained_on) faults.push_back(folder.string() + ": no images in it");
  return images;
}

DatasetPtr open_folder(const std::string& folder, Split split) {
  std::vector<std::string> faults;
  const ImageWalk walk(folder);
  const auto folders = split_folders(folder);
  const auto classes = common_classes(folders, walk, faults);
  const fs::path& root = folders.at(split);
  std::vector<ListedImage> images;
  for (size_t label = 0; label < classes.size(); ++label) {
    const fs::path path = root / classes[label];
    if (!fs::is_directory(path)) continue;  // a fault already
    for (const auto& image : images_of_class(path, walk, split == Split::train, faults))
      images.push_back({image, static_cast<int64_t>(label)});
  }
  const std::string name = root.filename().string(), usual = to_string(split);
  const std::string what = fmt::format("imagefolder, {}{}", usual, name == usual ? "" : fmt::format(" ({}/)", name));
  return checked_list(root.string(), what, std::move(images), class_names(classes), std::move(faults));
}

// ------------------------------------------------------------------------------------------------- a folder without splits

/// Keeps these draws apart from other uses of hashes; another seed would move images between train and test.
constexpr const char* kSplitSeed = "respeft split 1\n";

/// How many of a class's images go to val and test: at least one where there is a share, but one always stays for train.
std::pair<size_t, size_t> val_and_test_counts(size_t images, const SplitShares& shares) {
  const auto count = [&](double share) {
    return share > 0 ? std::max<size_t>(1, static_cast<size_t>(std::lround(share * static_cast<double>(images)))) : size_t{0};
  };
  size_t val = count(shares.val), test = count(shares.test);
  while (val + test + 1 > images && val + test > 0) --(val > 0 ? val : test);
  return {val, test};
}

/// The images of one class that belong to `split`: those whose names in the dataset's folder hash lowest are test, then val. An
/// image that is added moves at most one other.
std::vector<std::string> part_of_class(const std::vector<std::string>& images, const std::string& folder, Split split,
                                       const SplitShares& shares) {
  std::vector<std::pair<std::string, std::string>> drawn;  // hash and path
  for (const auto& path : images)
    drawn.emplace_back(formats::sha256(kSplitSeed + fs::path(path).lexically_relative(folder).generic_string()), path);
  std::sort(drawn.begin(), drawn.end());
  const auto [val, test] = val_and_test_counts(images.size(), shares);
  const size_t begin = split == Split::test ? 0 : split == Split::val ? test : test + val;
  const size_t end = split == Split::test ? test : split == Split::val ? test + val : images.size();
  std::vector<std::string> part;
  for (size_t i = begin; i < end; ++i) part.push_back(drawn[i].second);
  std::sort(part.begin(), part.end());
  return part;
}

/// Throws `std::invalid_argument` where `folder` holds splits: folders of their names that have folders in them.
void refuse_splits(const std::string& folder, const std::vector<std::string>& names, const ImageWalk& walk) {
  std::vector<std::string> found, ignored;
  for (const auto& name : names) {
    if (split_of_folder(name) && !walk.class_folders(fs::path(folder) / name, ignored).empty()) found.push_back(name);
  }
  if (found.empty()) return;
  throw std::invalid_argument(
      fmt::format("split: {} has splits of its own ({}); shares are for a folder of classes", folder, listed(found)));
}

DatasetPtr divide(const std::string& folder, Split split, const SplitShares& shares) {
  std::vector<std::string> faults;
  const ImageWalk walk(folder);
  const auto classes = walk.class_folders(folder, faults);
  refuse_splits(folder, classes, walk);
  if (classes.empty()) faults.push_back(folder + ": no folders in it; there should be one a class");
  std::vector<ListedImage> images;
  for (size_t label = 0; label < classes.size(); ++label) {
    const auto all = images_of_class(fs::path(folder) / classes[label], walk, split == Split::train, faults);
    for (const auto& image : part_of_class(all, folder, split, shares)) images.push_back({image, static_cast<int64_t>(label)});
  }
  const double share = split == Split::train ? shares.train : split == Split::val ? shares.val : shares.test;
  return checked_list(folder, fmt::format("imagefolder, {} ({:.4g} % of every class)", to_string(split), 100 * share),
                      std::move(images), class_names(classes), std::move(faults));
}

}  // namespace

DatasetKind imagefolder_kind() {
  DatasetKind kind;
  kind.name = "imagefolder";
  kind.summary = "folders train/, test/ and optionally val/, each with one folder of JPEG and PNG images per class";
  kind.splits = folder_splits;
  kind.open = open_folder;
  kind.divide = divide;
  kind.explain_missing = explain_missing;
  kind.remarks = remarks;
  return kind;
}

}  // namespace respeft::data
