#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <filesystem>
#include <memory>
#include <stdexcept>

#include "src/data/image/kinds.h"

namespace respeft::data {
namespace {

/// The names in the dataset's publication (Xiao, Rasul, Vollgraf 2017), by label.
const std::vector<std::string> kClassNames = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                              "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

/// The file, gzipped or not; empty when there is neither.
std::string find_file(const std::string& folder, Split split, const std::string& what) {
  const std::string path = fmt::format("{}/{}-{}-ubyte", folder, split == Split::train ? "train" : "t10k", what);
  for (const auto& candidate : {path, path + ".gz"}) {
    if (std::filesystem::is_regular_file(candidate)) return candidate;
  }
  return "";
}

/// Reads a file that zlib gunzips if it is gzipped.
class GzipReader {
 public:
  explicit GzipReader(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb"), gzclose) {
    if (!file_) throw std::runtime_error(path + ": cannot be read");
    gzbuffer(file_.get(), 1 << 17);
  }

  /// Up to `size` bytes; fewer only at the end.
  size_t read(uint8_t* out, unsigned size) {
    const int got = gzread(file_.get(), out, size);
    int status = Z_OK;
    const char* message = gzerror(file_.get(), &status);
    if (got < 0 || (status != Z_OK && status != Z_STREAM_END)) {
      throw std::runtime_error(fmt::format("{}: corrupt or truncated gzip data: {}", path_, message));
    }
    return static_cast<size_t>(got);
  }

 private:
  std::string path_;
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file_;
};

struct IdxFile {
  std::vector<int64_t> shape;
  std::vector<uint8_t> values;
};

/// An IDX file of bytes: 0, 0, 8 (uint8), the number of dimensions, the dimensions (32 bits, big endian), the values.
IdxFile read_idx(const std::string& path, size_t dimensions) {
  GzipReader reader(path);
  std::array<uint8_t, 16> header;
  const size_t header_size = 4 + 4 * dimensions;
  if (reader.read(header.data(), static_cast<unsigned>(header_size)) != header_size) {
    throw std::runtime_error(path + ": not an IDX file: it is shorter than its header");
  }
  if (header[0] != 0 || header[1] != 0 || header[2] != 8 || header[3] != dimensions) {
    throw std::runtime_error(
        fmt::format("{}: not an IDX file of bytes in {} dimensions: it begins with {:02x} {:02x} {:02x} {:02x}", path, dimensions,
                    header[0], header[1], header[2], header[3]));
  }
  IdxFile file;
  uint64_t size = 1;
  for (size_t d = 0; d < dimensions; ++d) {
    const uint8_t* bytes = header.data() + 4 + 4 * d;
    const uint32_t length = uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
    if (length == 0 || __builtin_mul_overflow(size, length, &size))
      throw std::runtime_error(path + ": impossible sizes in its header");
    file.shape.push_back(length);
  }
  constexpr uint64_t kChunk = 1 << 20;  // grown by what is there, not by what the header claims
  while (file.values.size() < size) {
    const size_t begin = file.values.size();
    const auto wanted = static_cast<size_t>(std::min<uint64_t>(kChunk, size - begin));
    file.values.resize(begin + wanted);
    const size_t got = reader.read(file.values.data() + begin, static_cast<unsigned>(wanted));
    if (got < wanted) throw std::runtime_error(fmt::format("{}: truncated: {} bytes of {} are there", path, begin + got, size));
  }
  uint8_t extra;
  if (reader.read(&extra, 1) != 0)
    throw std::runtime_error(fmt::format("{}: more data than the {} bytes its header says", path, size));
  return file;
}

class FashionMnist : public Dataset {
 public:
  FashionMnist(const std::string& folder, Split split) : split_(split), path_(find_file(folder, split, "images-idx3")) {
    const std::string labels_path = find_file(folder, split, "labels-idx1");
    if (labels_path.empty()) throw std::runtime_error(fmt::format("{}: no labels for {}", folder, path_));
    images_ = read_idx(path_, 3);
    labels_ = read_idx(labels_path, 1);
    if (images_.shape[0] != labels_.shape[0]) {
      throw std::runtime_error(fmt::format("{}: {} labels for {} images", labels_path, labels_.shape[0], images_.shape[0]));
    }
    for (size_t i = 0; i < labels_.values.size(); ++i) {
      if (labels_.values[i] >= kClassNames.size()) {
        throw std::runtime_error(fmt::format("{}: label {} of image {} is not below 10", labels_path, labels_.values[i], i));
      }
    }
  }

  int64_t size() const override { return images_.shape[0]; }
  int64_t label(int64_t index) const override { return labels_.values.at(static_cast<size_t>(index)); }
  Image load(int64_t index) const override {
    if (index < 0 || index >= size()) throw std::out_of_range(fmt::format("image {} of {}", index, size()));
    Image image(images_.shape[2], images_.shape[1]);
    const uint8_t* gray = images_.values.data() + index * image.width * image.height;
    for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = gray[i / 3];
    return image;
  }
  std::string item_name(int64_t index) const override { return fmt::format("{} #{}", path_, index); }
  const std::vector<std::string>& class_names() const override { return kClassNames; }
  std::string description() const override {
    return fmt::format("fashion-mnist, {}: {} images of {} classes", to_string(split_), size(), num_classes());
  }

 private:
  Split split_;
  std::string path_;
  IdxFile images_, labels_;
};

std::vector<Split> fashion_splits(const std::string& folder) {
  require_folder(folder);
  std::vector<Split> there;
  for (Split split : {Split::train, Split::test}) {
    if (!find_file(folder, split, "images-idx3").empty()) there.push_back(split);
  }
  return there;
}

}  // namespace

DatasetKind fashion_mnist_kind() {
  return {"fashion-mnist", "a folder with train-images-idx3-ubyte[.gz] and the three other IDX files", fashion_splits,
          [](const std::string& path, Split split) { return std::make_shared<FashionMnist>(path, split); },
          [](const std::string&) {
            return PublishedFacts{"Fashion-MNIST", 10, {{Split::train, 60000}, {Split::test, 10000}}};
          }};
}

}  // namespace respeft::data
