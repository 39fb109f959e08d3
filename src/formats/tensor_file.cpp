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
#include "src/formats/recognize.h"
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

/// The tensors of another file whose names begin with a prefix, without it.
class SelectedTensors : public TensorFile {
 public:
  SelectedTensors(std::unique_ptr<TensorFile> file, std::string prefix)
      : TensorFile(file->path(), file->format()), file_(std::move(file)), prefix_(std::move(prefix)) {
    files_ = file_->files();
    metadata_ = file_->metadata();
    for (const auto& [key, entry] : file_->entries()) {
      if (key.starts_with(prefix_)) entries_.emplace(key.substr(prefix_.size()), entry);
    }
  }

 private:
  at::Tensor read(const std::string& key) const override { return file_->tensor(prefix_ + key); }

  std::unique_ptr<TensorFile> file_;
  std::string prefix_;
};

/// The tensors that stand under `state_dict.`, or all where that is empty.
std::unique_ptr<TensorFile> selected(std::unique_ptr<TensorFile> file, const std::string& state_dict) {
  if (state_dict.empty()) return file;
  const std::string path = file->path(), prefix = state_dict.ends_with('.') ? state_dict : state_dict + ".";
  auto chosen = std::make_unique<SelectedTensors>(std::move(file), prefix);
  if (chosen->entries().empty())
    throw std::runtime_error(
        fmt::format("{}: there is no state dict '{}', and no tensor's name begins with '{}'", path, state_dict, prefix));
  return chosen;
}

std::unique_ptr<TensorFile> open_zip(std::shared_ptr<const MappedFile> file, const std::string& path,
                                     const std::string& state_dict) {
  OpenArchive archive{file, std::make_shared<ZipArchive>(file->bytes(), path)};
  if (!is_pytorch(*archive.archive)) return selected(open_npz(std::move(archive)), state_dict);
  std::string rest;  // what chooses among the names, if it is no dictionary's name
  auto opened = open_pytorch(std::move(archive), state_dict, rest);
  return selected(std::move(opened), rest);
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

[[noreturn]] void refuse_bare_pickle(std::string_view bytes, const std::string& path) {
  // The number that torch.save puts first, in pickle's own form. Source: MAGIC_NUMBER in torch/serialization.py.
  constexpr std::string_view magic = "\x8a\x0al\xfc\x9c\x46\xf9\x20j\xa8P\x19.";
  if (bytes.substr(2).starts_with(magic)) {
    throw std::runtime_error(path +
                             ": a pickle by itself, as PyTorch wrote before version 1.6, is not read; in Python, "
                             "torch.save(torch.load(FILE, weights_only=True), NEW) writes it anew");
  }
  throw std::runtime_error(path +
                           ": a pickle of another program than PyTorch is not read; in Python, pickle.load reads it, and "
                           "torch.save({name: torch.as_tensor(array), …}, NEW) writes its arrays");
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

std::unique_ptr<TensorFile> open_tensor_file(const std::string& given, const std::string& state_dict) {
  const std::string path = fs::is_directory(given) ? in_folder(given) : given;
  if (is_json(MappedFile(path).bytes())) return selected(open_index(path), state_dict);
  return open_shard(path, state_dict);
}

std::unique_ptr<TensorFile> open_shard(const std::string& path, const std::string& state_dict) {
  auto file = std::make_shared<const MappedFile>(path);
  const std::string_view bytes = file->bytes();
  if (is_zip(bytes)) return open_zip(std::move(file), path, state_dict);
  if (is_bare_pickle(bytes)) refuse_bare_pickle(bytes, path);
  if (const std::string foreign = is_safetensors(bytes) ? "" : foreign_format(bytes); !foreign.empty())
    throw std::runtime_error(fmt::format("{}: {}", path, foreign));
  return selected(open_safetensors(path), state_dict);
}

std::unique_ptr<TensorFile> open_safetensors(const std::string& path) {
  return std::make_unique<SafetensorsTensors>(path);
}

std::string weights_sha256(const std::string& path, const std::string& state_dict) {
  return weights_sha256(*open_tensor_file(path, state_dict), state_dict);
}

std::string weights_sha256(const TensorFile& file, const std::string& state_dict) {
  std::string hash;
  if (file.files().size() == 1) {
    hash = file_sha256(file.files().front());
  } else {
    std::string lines;
    for (const auto& name : file.files()) lines += fmt::format("{}  {}\n", file_sha256(name), fs::path(name).filename().string());
    hash = sha256(lines);
  }
  return state_dict.empty() ? hash : sha256(fmt::format("{}  {}\n", hash, state_dict));
}

}  // namespace respeft::formats
