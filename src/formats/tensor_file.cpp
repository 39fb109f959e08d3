#include <respeft/formats/tensor_file.h>

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include <respeft/formats/file.h>

#include "src/formats/bytes.h"
#include "src/formats/mapped_file.h"
#include "src/formats/tensor_formats.h"
#include "src/formats/zip.h"

namespace respeft::formats {
namespace {

namespace fs = std::filesystem;

/// File names of weights in Hugging Face's folders; the first that exists is used.
constexpr const char* kFolderFiles[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};

std::string in_folder(const std::string& folder) {
  for (const char* name : kFolderFiles) {
    const fs::path path = fs::path(folder) / name;
    if (fs::exists(path)) return path.string();
  }
  throw std::runtime_error(fmt::format("{}: the folder holds no weights: none of {}", folder, fmt::join(kFolderFiles, ", ")));
}

class SafetensorsTensors : public TensorFile {
 public:
  explicit SafetensorsTensors(const std::string& path) : TensorFile(path, "safetensors"), file_(path) {
    metadata_ = file_.metadata();
    for (const auto& [key, entry] : file_.entries()) entries_.emplace_hint(entries_.end(), key, Entry{entry.dtype, entry.shape});
  }

 private:
  at::Tensor read(const std::string& key) const override { return file_.tensor(key); }
  SafetensorsFile file_;
};

/// PyTorch's archives hold `data.pkl` in their one folder; TorchScript's also hold code.
bool is_pytorch(const ZipArchive& archive) {
  const auto& entries = archive.entries();
  return std::any_of(entries.begin(), entries.end(), [](const auto& item) { return item.first.ends_with("/data.pkl"); });
}

std::unique_ptr<TensorFile> open_zip(std::shared_ptr<const MappedFile> file, const std::string& path) {
  OpenArchive archive{file, std::make_shared<ZipArchive>(file->bytes(), path)};
  return is_pytorch(*archive.archive) ? open_pytorch(std::move(archive)) : open_npz(std::move(archive));
}

/// Starts with eight bytes that give the length of the JSON object after them.
bool is_safetensors(std::string_view bytes) {
  return bytes.size() > 8 && bytes[8] == '{' && number_at<uint64_t>(bytes, 0) <= bytes.size() - 8;
}

bool is_zip(std::string_view bytes) {
  return !is_safetensors(bytes) && (bytes.starts_with("PK\3\4") || bytes.starts_with("PK\5\6"));
}

bool is_json(std::string_view bytes) {
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return !is_safetensors(bytes) && first != std::string_view::npos && bytes[first] == '{';
}

/// Starts with a pickle protocol number: files of PyTorch before version 1.6, and other pickled objects.
bool is_bare_pickle(std::string_view bytes) {
  return !is_safetensors(bytes) && bytes.size() > 8 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5;
}

}  // namespace

TensorFile::TensorFile(std::string path, std::string format)
    : path_(std::move(path)), format_(std::move(format)), files_({path_}) {}
TensorFile::~TensorFile() = default;

at::Tensor TensorFile::tensor(const std::string& key) const {
  if (!contains(key)) throw std::runtime_error(fmt::format("{}: there is no tensor '{}'", path_, key));
  return read(key);
}

TensorMap TensorFile::tensors() const {
  TensorMap result;
  for (const auto& [key, entry] : entries_) result.emplace_hint(result.end(), key, read(key));
  return result;
}

TensorMap TensorFile::shapes() const {
  TensorMap result;
  for (const auto& [key, entry] : entries_) {
    result.emplace_hint(result.end(), key, at::empty(entry.shape, at::TensorOptions(at::kMeta).dtype(entry.dtype)));
  }
  return result;
}

std::unique_ptr<TensorFile> open_tensor_file(const std::string& given) {
  const std::string path = fs::is_directory(given) ? in_folder(given) : given;
  return is_json(MappedFile(path).bytes()) ? open_index(path) : open_shard(path);
}

std::unique_ptr<TensorFile> open_shard(const std::string& path) {
  auto file = std::make_shared<const MappedFile>(path);
  const std::string_view bytes = file->bytes();
  if (is_zip(bytes)) return open_zip(std::move(file), path);
  if (is_bare_pickle(bytes)) {
    throw std::runtime_error(
        path +
        ": a pickle by itself, as PyTorch wrote before version 1.6, is not read; in Python, torch.save(torch.load(FILE), NEW) "
        "writes it anew");
  }
  return open_safetensors(path);
}

std::unique_ptr<TensorFile> open_safetensors(const std::string& path) {
  return std::make_unique<SafetensorsTensors>(path);
}

std::string weights_sha256(const std::string& path) {
  return weights_sha256(*open_tensor_file(path));
}

std::string weights_sha256(const TensorFile& file) {
  const auto& files = file.files();
  if (files.size() == 1) return file_sha256(files.front());
  std::string lines;
  for (const auto& name : files) lines += fmt::format("{}  {}\n", file_sha256(name), fs::path(name).filename().string());
  return sha256(lines);
}

}  // namespace respeft::formats
