// A kind of data of one's own: binary PPM images, whose class is the first part of the file's name (`rose-1.ppm`).

#include <respeft/respeft.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

namespace {

using namespace respeft;
namespace fs = std::filesystem;

// docs begins: dataset
/// The images of one folder. Several threads may call every member at once, so all is read-only.
class PpmFolder : public data::Dataset {
 public:
  PpmFolder(fs::path folder, data::Split split) : folder_(std::move(folder)), split_(split) {
    std::set<std::string> classes;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      if (entry.path().extension() != ".ppm") continue;
      files_.push_back(entry.path());
      classes.insert(class_of(entry.path()));
    }
    if (files_.empty()) throw std::runtime_error(folder_.string() + ": no .ppm files");
    std::sort(files_.begin(), files_.end());  // the order must not depend on the file system
    names_.assign(classes.begin(), classes.end());
  }

  int64_t size() const override { return static_cast<int64_t>(files_.size()); }
  int64_t label(int64_t index) const override {
    return std::lower_bound(names_.begin(), names_.end(), class_of(file_at(index))) - names_.begin();
  }
  data::Image load(int64_t index) const override {
    const fs::path& path = file_at(index);
    const auto fail = [&](const char* fault) { return std::runtime_error(path.string() + ": " + fault); };
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    int64_t width = 0, height = 0, largest = 0;
    if (!(file >> magic >> width >> height >> largest) || magic != "P6" || largest != 255)
      throw fail("not a binary PPM of 8 bits");
    // Files are hostile: check sizes before memory is allocated for them.
    if (width < 1 || height < 1 || width > data::kMaxImagePixels / height) throw fail("impossible or too large a size");
    file.get();  // the blank after the header
    data::Image image(width, height);
    file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
    if (!file) throw fail("truncated");
    return image;
  }
  std::string item_name(int64_t index) const override { return file_at(index).string(); }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string description() const override {
    return "ppm, " + data::to_string(split_) + ": " + std::to_string(size()) + " images of " + std::to_string(num_classes()) +
           " classes";
  }

 private:
  static std::string class_of(const fs::path& path) { return path.stem().string().substr(0, path.stem().string().find('-')); }
  const fs::path& file_at(int64_t index) const { return files_.at(static_cast<size_t>(index)); }

  fs::path folder_;
  data::Split split_;
  std::vector<fs::path> files_;
  std::vector<std::string> names_;
};
// docs ends

// docs begins: kind
data::DatasetKind ppm_kind() {
  return {.name = "ppm",
          .summary = "folders train/ and test/ of binary PPM images, named CLASS-ANYTHING.ppm",
          .splits =
              [](const std::string& path) {
                std::vector<data::Split> there;
                for (const auto split : {data::Split::train, data::Split::test}) {
                  if (fs::is_directory(fs::path(path) / data::to_string(split))) there.push_back(split);
                }
                return there;
              },
          .open = [](const std::string& path, data::Split split) -> data::DatasetPtr {
            return std::make_shared<PpmFolder>(fs::path(path) / data::to_string(split), split);
          }};
}
// docs ends

void write_ppm(const fs::path& path, uint8_t value) {
  std::ofstream file(path, std::ios::binary);
  file << "P6\n4 4\n255\n" << std::string(4 * 4 * 3, static_cast<char>(value));
}

}  // namespace

int main() {
  const fs::path root = "ppm-example";
  fs::create_directories(root / "train");
  write_ppm(root / "train/dark-1.ppm", 0);
  write_ppm(root / "train/bright-1.ppm", 255);
  write_ppm(root / "train/dark-2.ppm", 51);

  // docs begins: use
  const data::DatasetKind kind = ppm_kind();
  const data::DatasetPtr train = kind.open(root.string(), data::Split::train);
  const auto source = data::image_source(train, data::Transform({.size = 8}), /*workers=*/1);
  const auto batch = source->batches({0, 1, 2}, /*batch_size=*/3, /*seed=*/0)->next();
  // docs ends
  std::printf("%s\n", train->description().c_str());
  // Values of 0…1 become (value - 0.5) / 0.5. In the order of the names: bright-1, dark-1, dark-2, of the classes bright and
  // dark.
  const auto means = batch->at(kPixels).mean({1, 2, 3});
  const bool right = at::allclose(means, at::tensor({1.0f, -1.0f, -0.6f}), /*rtol=*/0, /*atol=*/1e-6) &&
                     batch->at(kLabels).equal(at::tensor({0, 1, 1}, at::kLong)) && kind.splits(root.string()).size() == 1;
  fs::remove_all(root);
  return right ? 0 : 1;
}
