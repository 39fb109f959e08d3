#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace respeft::data {

/// Collects the image files of class folders. Symbolic links are followed, each folder is read once a class.
class ImageWalk {
 public:
  /// `root`: the dataset's folder. A link inside it that leads back to it, or to a folder around it, is a fault.
  explicit ImageWalk(const std::filesystem::path& root);

  /// The folders in `folder`, by name, sorted by their bytes; hidden ones are left out.
  std::vector<std::string> class_folders(const std::filesystem::path& folder, std::vector<std::string>& faults) const;

  /// The JPEG and PNG files in `folder` and the folders in it, sorted by their paths' bytes; hidden ones are left out. `faults`
  /// receives files of other image formats, links that lead nowhere or in a circle, pipes, and folders that cannot be read.
  std::vector<std::string> images(const std::filesystem::path& folder, std::vector<std::string>& faults) const;

  /// The number of image files, readable here or not, that lie in `folder` itself.
  static size_t loose_images(const std::filesystem::path& folder);

 private:
  /// A folder on the disk, however it is reached: device and inode.
  using Identity = std::pair<uint64_t, uint64_t>;
  struct Level {
    Identity identity;
    std::filesystem::path path;
  };
  struct Search;

  static Identity identity_of(const std::filesystem::path& folder);
  void walk(const std::filesystem::path& folder, Search& search) const;

  std::vector<Level> around_;  ///< the dataset's folder and those around it
};

}  // namespace respeft::data
