#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>

#include "src/data/image/benchmark.h"
#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kReadable = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"};
/// Images that cannot be read: better an error than a dataset that silently lacks them.
const std::vector<std::string> kUnreadable = {".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".heic", ".avif", ".jp2"};

bool has_extension(const fs::path& path, const std::vector<std::string>& extensions) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

bool hidden(const fs::path& path) {
  return path.filename().string().starts_with('.');
}

/// The names of the folders in `folder`, sorted by their bytes.
std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && !hidden(entry.path())) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The images in `folder` and the folders in it, sorted by their paths' bytes; `faults` receives those that cannot be read.
std::vector<std::string> images_in(const fs::path& folder, std::vector<std::string>& faults) {
  std::vector<std::string> paths, unreadable;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto each = fs::recursive_directory_iterator(folder, options); each != fs::recursive_directory_iterator(); ++each) {
    const auto& entry = *each;
    if (hidden(entry.path())) each.disable_recursion_pending();
    if (hidden(entry.path()) || entry.is_directory()) continue;
    if (has_extension(entry.path(), kUnreadable)) unreadable.push_back(entry.path().string());
    if (has_extension(entry.path(), kReadable)) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  std::sort(unreadable.begin(), unreadable.end());
  for (const auto& path : unreadable) faults.push_back(path + ": images of this format cannot be read; JPEG and PNG can");
  return paths;
}

std::vector<Split> splits(const std::string& folder) {
  require_folder(folder);
  std::vector<Split> there;
  for (Split split : {Split::train, Split::val, Split::test}) {
    if (fs::is_directory(fs::path(folder) / to_string(split))) there.push_back(split);
  }
  return there;
}

/// The classes of all splits together; `faults` receives every folder that a split lacks, for they must agree.
std::vector<std::string> common_classes(const fs::path& folder, std::vector<std::string>& faults) {
  std::vector<std::pair<fs::path, std::vector<std::string>>> found;  // by split
  std::map<std::string, fs::path> first;                             // the first split that has a class
  for (Split split : splits(folder)) {
    const fs::path path = folder / to_string(split);
    found.emplace_back(path, class_folders(path));
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

DatasetPtr open(const std::string& folder, Split split) {
  std::vector<std::string> faults;
  const auto classes = common_classes(folder, faults);
  const fs::path root = fs::path(folder) / to_string(split);
  std::vector<ListedImage> images;
  for (size_t label = 0; label < classes.size(); ++label) {
    const fs::path path = root / classes[label];
    if (!fs::is_directory(path)) continue;  // a fault already
    const size_t before = faults.size();
    const auto found = images_in(path, faults);
    if (found.empty() && faults.size() == before && split == Split::train) faults.push_back(path.string() + ": no images in it");
    for (const auto& image : found) images.push_back({image, static_cast<int64_t>(label)});
  }
  return checked_list(root.string(), "imagefolder, " + to_string(split), std::move(images), classes, std::move(faults));
}

}  // namespace

DatasetKind imagefolder_kind() {
  return {"imagefolder", "folders train/, test/ and perhaps val/, each with a folder of JPEG and PNG images a class", splits,
          open};
}

}  // namespace respeft::data
