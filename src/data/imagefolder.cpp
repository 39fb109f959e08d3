#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <stdexcept>

#include "src/data/image_list.h"
#include "src/data/kinds.h"

namespace respeft::data {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kReadable = {".jpg", ".jpeg", ".jpe", ".jfif", ".png"};
/// Images that cannot be read: better an error than a data set that silently lacks them.
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

/// The images in `folder` and the folders in it, sorted by their paths' bytes.
std::vector<std::string> images_in(const fs::path& folder) {
  std::vector<std::string> paths;
  const auto options = fs::directory_options::follow_directory_symlink;
  for (auto each = fs::recursive_directory_iterator(folder, options); each != fs::recursive_directory_iterator(); ++each) {
    const auto& entry = *each;
    if (hidden(entry.path())) each.disable_recursion_pending();
    if (hidden(entry.path()) || entry.is_directory()) continue;
    if (has_extension(entry.path(), kUnreadable)) {
      throw std::runtime_error(entry.path().string() + ": images of this format cannot be read; JPEG and PNG can");
    }
    if (has_extension(entry.path(), kReadable)) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
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

/// The classes of all splits, which must agree.
std::vector<std::string> common_classes(const fs::path& folder) {
  std::vector<std::string> classes;
  fs::path reference;
  for (Split split : splits(folder)) {
    const fs::path path = folder / to_string(split);
    const auto found = class_folders(path);
    if (found.empty()) throw std::runtime_error(path.string() + ": no folders in it; there should be one a class");
    if (reference.empty()) reference = path, classes = found;
    const auto complain = [&](const fs::path& has, const fs::path& lacks, const std::string& name) {
      throw std::runtime_error(
          fmt::format("{}: no folder '{}', which {} has: all splits need the same classes", lacks.string(), name, has.string()));
    };
    std::vector<std::string> only;
    std::set_difference(classes.begin(), classes.end(), found.begin(), found.end(), std::back_inserter(only));
    if (!only.empty()) complain(reference, path, only.front());
    std::set_difference(found.begin(), found.end(), classes.begin(), classes.end(), std::back_inserter(only));
    if (!only.empty()) complain(path, reference, only.front());
  }
  return classes;
}

DatasetPtr open(const std::string& folder, Split split) {
  const auto classes = common_classes(folder);
  const fs::path root = fs::path(folder) / to_string(split);
  std::vector<ListedImage> images;
  for (size_t label = 0; label < classes.size(); ++label) {
    const auto found = images_in(root / classes[label]);
    if (found.empty() && split == Split::train) throw std::runtime_error((root / classes[label]).string() + ": no images in it");
    for (const auto& path : found) images.push_back({path, static_cast<int64_t>(label)});
  }
  if (images.empty()) throw std::runtime_error(root.string() + ": no images in it");
  return std::make_shared<ImageList>("imagefolder, " + to_string(split), std::move(images), classes);
}

}  // namespace

DatasetKind imagefolder_kind() {
  return {"imagefolder", "folders train/, test/ and perhaps val/, each with a folder of JPEG and PNG images a class", splits,
          open};
}

}  // namespace respeft::data
