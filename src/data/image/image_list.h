#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include <respeft/data/image/dataset.h>

namespace respeft::data {

struct ListedImage {
  std::string path;
  int64_t label;
};

/// The content of an image file that a list or folder has. Throws `std::runtime_error` naming the path and the fault, also where
/// it is no regular file: reading a pipe would wait for somebody to write to it.
std::string read_listed_file(const std::string& path);

/// Images that are files of their own.
class ImageList : public Dataset {
 public:
  /// `what`: the description's beginning, e.g. "imagefolder, train". Every label is below the number of classes.
  ImageList(std::string what, std::vector<ListedImage> images, std::vector<std::string> class_names)
      : what_(std::move(what)), images_(std::move(images)), class_names_(std::move(class_names)) {}

  int64_t size() const override { return static_cast<int64_t>(images_.size()); }
  int64_t label(int64_t index) const override { return images_.at(static_cast<size_t>(index)).label; }
  Image load(int64_t index) const override { return decode_image(read_listed_file(item_name(index)), item_name(index)); }
  std::string item_name(int64_t index) const override { return images_.at(static_cast<size_t>(index)).path; }
  std::optional<std::string> file(int64_t index) const override { return item_name(index); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::string description() const override { return fmt::format("{}: {} images of {} classes", what_, size(), num_classes()); }

 private:
  std::string what_;
  std::vector<ListedImage> images_;
  std::vector<std::string> class_names_;
};

}  // namespace respeft::data
