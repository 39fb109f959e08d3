#include "src/data/image/image_walk.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "src/data/image/benchmark.h"

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

/// The entries of a folder that are not hidden, sorted by their names; what keeps it from being read goes to `faults`.
std::vector<fs::directory_entry> entries_of(const fs::path& folder, std::vector<std::string>& faults) {
  std::vector<fs::directory_entry> entries;
  std::error_code error;
  for (fs::directory_iterator each(folder, error), end; !error && each != end; each.increment(error)) {
    if (!hidden(each->path())) entries.push_back(*each);
  }
  if (error) faults.push_back(fmt::format("{}: the folder cannot be read: {}", folder.string(), error.message()));
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.path().native() < b.path().native(); });
  return entries;
}

/// What is wrong with a symbolic link that leads to no file; empty for everything else, and where its name is not one of an
/// image or a folder.
std::string link_fault(const fs::directory_entry& entry) {
  std::error_code error;
  if (!entry.is_symlink(error) || entry.exists(error)) return "";
  const fs::path& path = entry.path();
  if (path.has_extension() && !has_extension(path, kReadable) && !has_extension(path, kUnreadable)) return "";
  const std::string why = error ? error.message() : "which is not there";
  return fmt::format("{}: a symbolic link to {}: {}", path.string(), fs::read_symlink(path, error).string(), why);
}

}  // namespace

struct ImageWalk::Search {
  std::vector<Level> levels;  ///< the folders around the one that is being read
  std::set<Identity> read;
  std::vector<std::string> images, faults;
};

ImageWalk::ImageWalk(const fs::path& root) {
  std::error_code error;
  for (fs::path folder = fs::canonical(root, error); !folder.empty(); folder = folder.parent_path()) {
    around_.push_back({identity_of(folder), folder});
    if (folder == folder.root_path()) break;
  }
}

ImageWalk::Identity ImageWalk::identity_of(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) return {0, 0};
  return {static_cast<uint64_t>(status.st_dev), static_cast<uint64_t>(status.st_ino)};
}

std::vector<std::string> ImageWalk::class_folders(const fs::path& folder, std::vector<std::string>& faults) const {
  std::vector<std::string> names;
  for (const auto& entry : entries_of(folder, faults)) {
    std::error_code error;
    if (entry.is_directory(error)) names.push_back(entry.path().filename().string());
    if (auto fault = link_fault(entry); !fault.empty()) faults.push_back(std::move(fault));
  }
  return names;
}

size_t ImageWalk::loose_images(const fs::path& folder) {
  std::vector<std::string> faults;  // those of a folder that is read are found where it is read
  const auto entries = entries_of(folder, faults);
  return static_cast<size_t>(std::count_if(entries.begin(), entries.end(), [](const auto& entry) {
    std::error_code error;
    const bool image = has_extension(entry.path(), kReadable) || has_extension(entry.path(), kUnreadable);
    return image && !entry.is_directory(error);
  }));
}

std::vector<std::string> ImageWalk::images(const fs::path& folder, std::vector<std::string>& faults) const {
  Search search;
  search.levels = around_;
  search.levels.push_back({identity_of(folder.parent_path()), folder.parent_path()});
  walk(folder, search);
  std::sort(search.images.begin(), search.images.end());
  std::sort(search.faults.begin(), search.faults.end());
  faults.insert(faults.end(), search.faults.begin(), search.faults.end());
  return std::move(search.images);
}

void ImageWalk::walk(const fs::path& folder, Search& search) const {
  const Identity identity = identity_of(folder);
  const auto same = [&](const Level& level) { return level.identity == identity; };
  if (const auto level = std::find_if(search.levels.begin(), search.levels.end(), same); level != search.levels.end()) {
    search.faults.push_back(
        fmt::format("{}: a symbolic link that leads back to its parent folder {}", folder.string(), level->path.string()));
    return;
  }
  if (!search.read.insert(identity).second) return;
  search.levels.push_back({identity, folder});
  for (const auto& entry : entries_of(folder, search.faults)) {
    std::error_code error;
    const fs::path& path = entry.path();
    if (entry.is_directory(error)) {
      walk(path, search);
    } else if (auto fault = link_fault(entry); !fault.empty()) {
      search.faults.push_back(std::move(fault));
    } else if (has_extension(path, kUnreadable)) {
      search.faults.push_back(path.string() + ": images of this format cannot be read; JPEG and PNG can");
    } else if (has_extension(path, kReadable)) {
      const std::string special = entry.is_regular_file(error) ? "" : special_file(entry.status(error).type());
      if (special.empty())
        search.images.push_back(path.string());
      else
        search.faults.push_back(fmt::format("{}: {}", path.string(), special));
    }
  }
  search.levels.pop_back();
}

}  // namespace respeft::data
