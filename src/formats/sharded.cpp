#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/formats/file.h>

#include "src/formats/json.h"
#include "src/formats/tensor_formats.h"

namespace respeft::formats {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uintmax_t kMaxIndexBytes = 100'000'000;

/// Tensors in several files, listed by an index: `{"weight_map": {"name": "model-00001-of-00002.safetensors", …}, …}`.
class ShardedFile : public TensorFile {
 public:
  explicit ShardedFile(const std::string& path) : TensorFile(path, "") {
    if (fs::file_size(path) > kMaxIndexBytes) fail("it is too large for an index of shards");
    const json index = parse(read_file(path));
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
      fail("it is no index of shards: no JSON object with a weight_map");
    }
    for (const auto& [key, name] : index["weight_map"].items()) add(key, name);
    for (const auto& [name, shard] : shards_) {
      for (const auto& [key, entry] : shard->entries()) {
        if (!contains(key)) fail(fmt::format("'{}': it lies in {}, but is not in the index", key, shard->path()));
      }
    }
  }

 private:
  [[noreturn]] void fail(const std::string& fault) const { throw std::runtime_error(fmt::format("{}: {}", path_, fault)); }

  json parse(const std::string& text) const {
    try {
      return parse_json(text);
    } catch (const std::runtime_error& error) {
      fail(fmt::format("it is no index of shards: {}", error.what()));
    }
  }

  void add(const std::string& key, const json& name) {
    if (!name.is_string()) fail(fmt::format("'{}': its shard is no file's name", key));
    const auto& shard = open(key, name.get<std::string>());
    const auto entry = shard.entries().find(key);
    if (entry == shard.entries().end()) fail(fmt::format("'{}': it is not in {}", key, shard.path()));
    entries_.emplace(key, entry->second);
    homes_.emplace(key, &shard);
  }

  /// A shard must be in the index's folder: an index cannot name files elsewhere.
  const TensorFile& open(const std::string& key, const std::string& name) {
    auto& shard = shards_[name];
    if (shard) return *shard;
    if (name.empty() || name == "." || name == ".." || name.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      fail(fmt::format("'{}': '{}' is no name of a file beside the index", key, name));
    }
    shard = open_shard((fs::path(path_).parent_path() / name).string());
    files_.push_back(shard->path());
    if (shards_.size() == 1) format_ = shard->format(), metadata_ = shard->metadata();
    return *shard;
  }

  at::Tensor read(const std::string& key) const override { return homes_.at(key)->tensor(key); }

  std::map<std::string, std::unique_ptr<TensorFile>> shards_;  ///< by name
  std::map<std::string, const TensorFile*> homes_;             ///< by tensor
};

}  // namespace

std::unique_ptr<TensorFile> open_index(const std::string& path) {
  return std::make_unique<ShardedFile>(path);
}

}  // namespace respeft::formats
