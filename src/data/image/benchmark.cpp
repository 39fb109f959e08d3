#include "src/data/image/benchmark.h"

#include <fmt/format.h>

#include <filesystem>
#include <stdexcept>

#include <respeft/formats/file.h>

#include <respeft/core/text.h>
#include "src/data/image/kinds.h"

#include "src/data/image/kinds.h"

namespace respeft::data {

namespace fs = std::filesystem;

std::string folder_name(const std::string& path) {
  fs::path whole = fs::absolute(path).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();  // "a/b/"
  return whole.filename().string();
}

void require_dataset_folder(const std::string& path, const std::vector<std::string>& known) {
  try {
    require_folder(path);
  } catch (const std::runtime_error& error) {
    const std::string name = folder_name(path), meant = text::nearest(name, known);
    if (meant.empty() || meant == name) throw;
    throw std::runtime_error(fmt::format("{}; did you mean '{}'?", error.what(), meant));
  }
}

void throw_unknown_dataset(const std::string& kind, const std::string& path, const std::vector<std::string>& known,
                           const std::vector<std::string>& present) {
  if (!present.empty()) {
    throw std::invalid_argument(
        fmt::format("{0}:{1}: which dataset? Give {0}:{1}/NAME, where NAME is {2}", kind, path, text::join(present, " or ")));
  }
  throw std::invalid_argument(fmt::format("{}:{}: {}", kind, path, text::unknown("dataset", folder_name(path), known)));
}

std::string image_path_fault(const std::string& name) {
  const fs::path path(name);
  if (name.empty()) return "an image without a name";
  if (path.is_absolute()) return fmt::format("'{}' is an absolute path; images lie in the dataset's folder", name);
  for (const auto& part : path) {
    if (part == "..") return fmt::format("'{}' leads out of the dataset's folder", name);
  }
  return "";
}

DatasetPtr checked_list(const std::string& list_path, const std::string& what, std::vector<ListedImage> images,
                        std::vector<std::string> class_names, std::vector<std::string> faults) {
  if (images.empty() && faults.empty()) throw std::runtime_error(list_path + ": no images in it");
  for (auto& name : class_names) name = text::to_utf8(name);  // they go into JSON and onto terminals
  DatasetPtr list;
  if (!images.empty()) list = std::make_shared<ImageList>(what, std::move(images), std::move(class_names));
  if (!faults.empty()) throw DataError(std::move(faults), list);
  return list;
}

std::string read_listed_file(const std::string& path) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  if (const std::string fault = special_file(type); !fault.empty()) throw std::runtime_error(fmt::format("{}: {}", path, fault));
  return formats::read_file(path);
}

std::string special_file(fs::file_type type) {
  switch (type) {
    case fs::file_type::fifo:
      return "a named pipe, not an image file";
    case fs::file_type::socket:
      return "a socket, not an image file";
    case fs::file_type::block:
    case fs::file_type::character:
      return "a device, not an image file";
    default:
      return "";
  }
}

}  // namespace respeft::data
