#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "src/formats/mapped_file.h"
#include "src/formats/npy.h"
#include "src/formats/tensor_formats.h"
#include "src/formats/zip.h"

namespace respeft::formats {
namespace {

constexpr std::string_view kSuffix = ".npy";

/// NumPy's archive of arrays: one `.npy` file per entry.
class NpzFile : public TensorFile {
 public:
  explicit NpzFile(OpenArchive archive) : TensorFile(archive.archive->path(), "npz"), archive_(std::move(archive)) {
    for (const auto& [name, entry] : archive_.archive->entries()) {
      if (!name.ends_with(kSuffix)) {
        throw std::runtime_error(fmt::format("{}: '{}': it is no array of NumPy's (.npy)", path_, name));
      }
      ZipStream stream(*archive_.archive, name);
      NpyHeader header = read_header(stream, name);
      entries_.emplace(name.substr(0, name.size() - kSuffix.size()), Entry{header.dtype, header.shape});
    }
  }

 private:
  at::Tensor read(const std::string& key) const override {
    const std::string name = key + std::string(kSuffix);
    ZipStream stream(*archive_.archive, name);
    const NpyHeader header = read_header(stream, name);
    at::Tensor data = at::empty({static_cast<int64_t>(stream.left())}, at::kByte);
    stream.read(data.mutable_data_ptr(), data.nbytes());
    stream.finish();
    return header.array(std::move(data));
  }

  /// Leaves the stream at the start of the data.
  NpyHeader read_header(ZipStream& stream, const std::string& name) const {
    const auto checked = [&](const auto& call) {
      try {
        return call();
      } catch (const std::runtime_error& error) {
        throw std::runtime_error(fmt::format("{}: '{}': {}", path_, name, error.what()));
      }
    };
    std::string bytes(std::min<uint64_t>(stream.left(), kNpyStartBytes), '\0');
    stream.read(bytes.data(), bytes.size());
    const size_t start = bytes.size(), size = checked([&] { return npy_header_bytes(bytes); });
    bytes.resize(std::max(size, start));
    stream.read(bytes.data() + start, bytes.size() - start);
    return checked([&] {
      NpyHeader header = parse_npy_header(std::string_view(bytes).substr(0, size));
      if (header.data_bytes() != stream.left() || size < start) {
        throw std::runtime_error(fmt::format("shape [{}] of {} takes {} bytes, its data has {}", fmt::join(header.shape, ", "),
                                             c10::toString(header.dtype), header.data_bytes(), stream.left()));
      }
      return header;
    });
  }

  OpenArchive archive_;
};

}  // namespace

std::unique_ptr<TensorFile> open_npz(OpenArchive archive) {
  return std::make_unique<NpzFile>(std::move(archive));
}

}  // namespace respeft::formats
