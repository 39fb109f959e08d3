#include <respeft/formats/safetensors.h>

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <respeft/formats/file.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "src/formats/mapped_file.h"
#include "src/formats/recognize.h"
#include "src/formats/safetensors_header.h"
#include "src/formats/shape.h"

namespace respeft::formats {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian and are read as they are");

namespace {

constexpr size_t length_bytes = sizeof(uint64_t);
/// The limit of the reference implementation.
constexpr uint64_t max_header_bytes = 100'000'000;

/// Reads the JSON header, which follows its length.
std::string_view header_of(std::string_view file, const std::string& path) {
  if (file.size() < length_bytes)
    throw std::runtime_error(fmt::format("{}: {} bytes are too few for a safetensors file", path, file.size()));
  uint64_t length = 0;
  std::memcpy(&length, file.data(), length_bytes);
  const bool has_header = file.size() > length_bytes && file[length_bytes] == '{';  // else other files begin with such a length
  if (const std::string foreign = has_header ? "" : foreign_format(file); !foreign.empty())
    throw std::runtime_error(fmt::format("{}: not a safetensors file: {}", path, foreign));
  if (length > max_header_bytes && !has_header)
    throw std::runtime_error(fmt::format("{}: not a safetensors file: it begins with {}", path, first_bytes(file)));
  if (length > file.size() - length_bytes) {
    throw std::runtime_error(fmt::format(
        "{}: not a safetensors file, or cut off: it declares a header of {} bytes and has {} bytes", path, length, file.size()));
  }
  if (length > max_header_bytes) {
    throw std::runtime_error(
        fmt::format("{}: the header's {} bytes exceed the format's limit of {}", path, length, max_header_bytes));
  }
  return file.substr(length_bytes, length);
}

void check_entry(const SafetensorsFile::Entry& entry, uint64_t data_bytes) {
  if (entry.begin > entry.end)
    throw std::runtime_error(fmt::format("its data ends at {}, before it begins at {}", entry.end, entry.begin));
  if (entry.end > data_bytes) {
    throw std::runtime_error(
        fmt::format("its data ends at byte {}, the file's data at {}: the file is cut off or damaged", entry.end, data_bytes));
  }
  const uint64_t expected = tensor_bytes(entry.dtype, entry.shape);
  if (entry.end - entry.begin != expected) {
    throw std::runtime_error(fmt::format("shape [{}] of {} takes {} bytes, its data has {}", fmt::join(entry.shape, ", "),
                                         safetensors_name(entry.dtype), expected, entry.end - entry.begin));
  }
}

/// The entries' data must follow one another without overlaps or holes and fill the file.
void check_coverage(const std::map<std::string, SafetensorsFile::Entry>& entries, uint64_t data_bytes, const std::string& path) {
  using Item = std::pair<const std::string, SafetensorsFile::Entry>;
  std::vector<const Item*> order;
  for (const Item& item : entries) order.push_back(&item);
  std::stable_sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t covered = 0;
  const std::string* previous = nullptr;
  for (const Item* item : order) {
    if (item->second.begin < covered) {
      throw std::runtime_error(fmt::format("{}: '{}': its data overlaps that of '{}'", path, item->first, *previous));
    }
    if (item->second.begin > covered) {
      throw std::runtime_error(
          fmt::format("{}: '{}': {} unused bytes lie before its data", path, item->first, item->second.begin - covered));
    }
    covered = item->second.end;
    previous = &item->first;
  }
  if (covered != data_bytes) {
    throw std::runtime_error(
        fmt::format("{}: {} bytes after the last tensor's data belong to nothing", path, data_bytes - covered));
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path), mapping_(std::make_unique<MappedFile>(path)) {
  const std::string_view json = header_of(mapping_->bytes(), path);
  SafetensorsHeader header = parse_safetensors_header(json, path);
  metadata_ = std::move(header.metadata);
  entries_ = std::move(header.entries);
  data_ = json.data() + json.size();
  const uint64_t data_bytes = mapping_->bytes().size() - length_bytes - json.size();
  for (const auto& [key, entry] : entries_) {
    try {
      check_entry(entry, data_bytes);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(fmt::format("{}: '{}': {}", path, key, error.what()));
    }
  }
  check_coverage(entries_, data_bytes, path);
}

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

at::Tensor SafetensorsFile::tensor(const std::string& key) const {
  const auto found = entries_.find(key);
  if (found == entries_.end()) throw std::runtime_error(fmt::format("{}: there is no tensor '{}'", path_, key));
  const Entry& entry = found->second;
  // A byte other than 0 or 1 is not a valid bool, so booleans are read as numbers.
  const bool boolean = entry.dtype == at::kBool;
  at::Tensor result = at::empty(entry.shape, boolean ? at::kByte : entry.dtype);
  if (result.nbytes() > 0) std::memcpy(result.mutable_data_ptr(), data_ + entry.begin, result.nbytes());
  return boolean ? result.ne(0) : result;
}

TensorMap SafetensorsFile::tensors() const {
  TensorMap result;
  for (const auto& [key, entry] : entries_) result.emplace_hint(result.end(), key, tensor(key));
  return result;
}

namespace {

struct Output {
  const std::string* key;
  at::Tensor tensor;  ///< dense, on the CPU
};

/// The tensors in the order of their data: by element size, largest first, so that each is aligned; then by key.
std::vector<Output> in_file_order(const TensorMap& tensors, const std::string& path) {
  std::vector<Output> result;
  for (const auto& [key, tensor] : tensors) {
    const auto fail = [&, name = &key](const std::string& fault) {
      throw std::runtime_error(fmt::format("{}: '{}': {}", path, *name, fault));
    };
    if (key == "__metadata__") fail("this name is reserved by the format");
    if (!tensor.defined()) fail("the tensor is undefined");
    if (!safetensors_name(tensor.scalar_type()))
      fail(fmt::format("the format has no dtype {}", c10::toString(tensor.scalar_type())));
    if (tensor.is_meta()) fail("the tensor has a shape but no data");
    if (tensor.layout() != at::kStrided) fail("the tensor is not dense");
    result.push_back({&key, tensor.detach().cpu().contiguous()});
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const Output& a, const Output& b) { return a.tensor.element_size() > b.tensor.element_size(); });
  return result;
}

/// The JSON header, padded with blanks so that the data after it is aligned to 8 bytes.
std::string header_for(const std::vector<Output>& outputs, const Metadata& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& [key, tensor] : outputs) {
    const uint64_t end = offset + tensor.nbytes();
    header[*key] = {
        {"dtype", safetensors_name(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

void save_safetensors(const std::string& path, const TensorMap& tensors, const Metadata& metadata) {
  const std::vector<Output> outputs = in_file_order(tensors, path);
  std::string header;
  try {
    header = header_for(outputs, metadata);
  } catch (const nlohmann::json::exception&) {
    throw std::runtime_error(fmt::format("{}: a tensor's name or the metadata is not valid UTF-8", path));
  }
  if (header.size() > max_header_bytes) {
    throw std::runtime_error(fmt::format("{}: the header would exceed the format's limit of {} bytes", path, max_header_bytes));
  }
  write_file(path, [&](const std::function<void(std::string_view)>& append) {
    const uint64_t length = header.size();
    append({reinterpret_cast<const char*>(&length), length_bytes});
    append(header);
    for (const auto& [key, tensor] : outputs) append({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
  });
}

}  // namespace respeft::formats
