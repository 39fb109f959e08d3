#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <optional>
#include <stdexcept>

#include "src/formats/bytes.h"
#include "src/formats/mapped_file.h"
#include "src/formats/pickle.h"
#include "src/formats/shape.h"
#include "src/formats/tensor_formats.h"
#include "src/formats/zip.h"

namespace respeft::formats {
namespace {

using Kind = PickleValue::Kind;

constexpr std::string_view kPickleName = "data.pkl";

/// A tensor in the pickle: a view of a storage.
struct View {
  const PickleValue* storage = nullptr;
  int64_t offset = 0;
  std::vector<int64_t> sizes, strides;
};

std::vector<int64_t> numbers(const PickleValue& sequence, const char* what) {
  std::vector<int64_t> result;
  for (const PickleValue* item : sequence.items) {
    if (!item->is(Kind::number) || item->number < 0 || result.size() == kMaxDimensions) {
      throw std::runtime_error(fmt::format("its {} are no list of numbers of at least 0", what));
    }
    result.push_back(item->number);
  }
  return result;
}

/// The view of a tensor value, checked against its storage.
View view_of(const PickleValue& tensor) {
  View view{tensor.items[0], tensor.number, numbers(*tensor.items[1], "sizes"), numbers(*tensor.items[2], "strides")};
  const int64_t stored = view.storage->number;
  if (view.sizes.size() != view.strides.size()) throw std::runtime_error("it has other numbers of sizes and of strides");
  const auto bytes = tensor_bytes(view.storage->dtype, view.sizes);
  int64_t last = view.offset;
  for (size_t i = 0; i < view.sizes.size() && bytes > 0; ++i) {
    int64_t reach = 0;
    if (__builtin_mul_overflow(view.sizes[i] - 1, view.strides[i], &reach) || __builtin_add_overflow(last, reach, &last))
      last = -1;
    if (last < 0) break;
  }
  if (view.offset < 0 || (bytes > 0 && (last < 0 || last >= stored))) {
    throw std::runtime_error(fmt::format("shape [{}] with strides [{}] from {} reaches beyond its storage of {} numbers",
                                         fmt::join(view.sizes, ", "), fmt::join(view.strides, ", "), view.offset, stored));
  }
  if (bytes > static_cast<uint64_t>(stored) * c10::elementSize(view.storage->dtype)) {
    throw std::runtime_error(fmt::format("shape [{}] repeats a storage of {} numbers: save a copy, tensor.clone(), instead",
                                         fmt::join(view.sizes, ", "), stored));
  }
  return view;
}

/// The number of dimensions of a tensor of floating-point numbers; −1 for other values.
int64_t float_dimensions(const PickleValue& value) {
  if (!value.is(Kind::tensor) || !at::isFloatingType(value.items[0]->dtype)) return -1;
  return static_cast<int64_t>(value.items[1]->items.size());
}

/// How much a dictionary looks like a model's state dict: 3 if it has matrices, 2 if vectors, 1 if other tensors, as generators'
/// states and metrics are; 0 without tensors.
int likeness(const PickleValue& dict) {
  int found = 0;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const PickleValue& value = *dict.items[i + 1];
    if (!value.is(Kind::tensor)) continue;
    const int64_t dimensions = float_dimensions(value);
    found = std::max(found, dimensions >= 2 ? 3 : dimensions == 1 ? 2 : 1);
  }
  return found;
}

struct Candidate {
  std::string_view name;
  const PickleValue* dict;
};

/// The dictionaries in a checkpoint that look most like a model's state dict.
std::vector<Candidate> state_dicts(const PickleValue& saved) {
  std::vector<Candidate> found;
  int best = 1;
  for (size_t i = 0; i + 1 < saved.items.size(); i += 2) {
    const PickleValue &key = *saved.items[i], &value = *saved.items[i + 1];
    if (!key.is(Kind::text) || !value.is(Kind::dict)) continue;
    const int here = likeness(value);
    if (here > best) found.clear();
    best = std::max(best, here);
    if (here == best) found.push_back({key.text, &value});
  }
  return found;
}

/// The dictionary of this name, with dots between nested ones; null if there is none.
const PickleValue* find_dict(const PickleValue& saved, std::string_view name) {
  const PickleValue* dict = &saved;
  while (dict) {
    const PickleValue* inner = nullptr;
    for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
      const PickleValue &key = *dict->items[i], &value = *dict->items[i + 1];
      if (!key.is(Kind::text) || key.text.empty() || !value.is(Kind::dict) || !name.starts_with(key.text)) continue;
      const auto rest = name.substr(key.text.size());
      if (rest.empty()) return &value;
      if (rest[0] == '.') inner = &value, name = rest.substr(1);
      if (inner) break;
    }
    dict = inner;
  }
  return nullptr;
}

/// The state dict in a checkpoint: the one that is called `name`, else the saved object itself, or the one model's in it. `rest`
/// receives the name if there is none of it.
const PickleValue& state_dict(const PickleValue& saved, const std::string& name, bool weights_only, std::string& rest) {
  if (!saved.is(Kind::dict)) throw std::runtime_error(fmt::format("it holds {}, not a state dict", saved.description()));
  const PickleValue* named = name.empty() ? nullptr : find_dict(saved, name);
  if (named && named->holds_tensors) return *named;
  rest = name;
  auto found = state_dicts(saved);
  if (!found.empty() && likeness(saved) > likeness(*found.front().dict)) found.clear();
  if (found.size() > 1) {
    std::vector<std::string_view> names;
    for (const auto& candidate : found) names.push_back(candidate.name);
    if (!name.empty())
      throw std::runtime_error(fmt::format("it holds no state dict '{}'; it has '{}'", name, fmt::join(names, "', '")));
    throw std::runtime_error(
        fmt::format("it holds several state dicts: '{}'. Name one (--state-dict {}), or in Python, torch.save(torch.load(FILE, "
                    "weights_only={})['{}'], NEW) writes one",
                    fmt::join(names, "', '"), names.back(), weights_only ? "True" : "False", names.front()));
  }
  if (!found.empty()) return *found.front().dict;
  if (!saved.holds_tensors) throw std::runtime_error("it holds no tensors by name");
  return saved;
}

/// Returns `call()`; prefixes its error with `where`.
template <class Call>
decltype(auto) checked(const std::string& where, const Call& call) {
  try {
    return call();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("{}: {}", where, error.what()));
  }
}

class PytorchFile : public TensorFile {
 public:
  PytorchFile(OpenArchive archive, const std::string& name, std::string& rest)
      : TensorFile(archive.archive->path(), "pytorch"), archive_(std::move(archive)) {
    find_folder();
    ZipStream stream(*archive_.archive, folder_ + std::string(kPickleName));
    pickle_ = stream.rest();
    const std::string where = fmt::format("{}: '{}{}'", path_, folder_, kPickleName);
    document_.emplace(checked(where, [&] { return Pickle(pickle_); }));
    read_state_dict(checked(
        where, [&]() -> const PickleValue& { return state_dict(document_->root(), name, !document_->has_objects(), rest); }));
  }

 private:
  [[noreturn]] void fail(const std::string& fault) const { throw std::runtime_error(fmt::format("{}: {}", path_, fault)); }

  void find_folder() {
    const auto& entries = archive_.archive->entries();
    for (const auto& [name, entry] : entries) {
      if (!name.ends_with(fmt::format("/{}", kPickleName))) continue;
      if (!folder_.empty()) fail(fmt::format("it has several {}", kPickleName));
      folder_ = name.substr(0, name.size() - kPickleName.size());
      // Reading a pickle may take many times its size; PyTorch stores it uncompressed.
      if (entry.deflated) fail(fmt::format("'{}': it is compressed, which PyTorch's own files never are", name));
    }
    if (entries.count(folder_ + "constants.pkl") != 0) {
      fail("it is a TorchScript program. In Python, torch.save(torch.jit.load(FILE).state_dict(), NEW) writes its tensors");
    }
    if (entries.count(folder_ + "byteorder") != 0 && ZipStream(*archive_.archive, folder_ + "byteorder").rest() != "little") {
      fail(fmt::format("'{}byteorder': only little-endian numbers are read", folder_));
    }
  }

  void read_state_dict(const PickleValue& state) {
    for (size_t i = 0; i + 1 < state.items.size(); i += 2) {
      const PickleValue &key = *state.items[i], &value = *state.items[i + 1];
      if (!key.is(Kind::text)) fail(fmt::format("a name in its state dict is {}", key.description()));
      const std::string name(key.text);
      if (!value.is(Kind::tensor)) fail(fmt::format("'{}': it is {}, not a tensor", name, value.description()));
      View view = checked(fmt::format("{}: '{}'", path_, name), [&] { return view_of(value); });
      check_storage(name, *view.storage);
      if (!entries_.emplace(name, Entry{view.storage->dtype, view.sizes}).second)
        fail(fmt::format("'{}': it is there twice", name));
      views_.emplace(name, std::move(view));
    }
  }

  std::string storage_name(const PickleValue& storage) const { return fmt::format("{}data/{}", folder_, storage.text); }

  void check_storage(const std::string& name, const PickleValue& storage) const {
    const std::string entry = storage_name(storage);
    if (archive_.archive->entries().count(entry) == 0) fail(fmt::format("'{}': its storage '{}' is missing", name, entry));
    const uint64_t bytes = archive_.archive->entry(entry).size, size = c10::elementSize(storage.dtype);
    if (storage.number < 0 || bytes % size != 0 || bytes / size != static_cast<uint64_t>(storage.number)) {
      fail(fmt::format("'{}': its storage '{}' of {} bytes should have {} numbers of {} bytes", name, entry, bytes,
                       storage.number, size));
    }
  }

  at::Tensor read(const std::string& key) const override {
    const View& view = views_.at(key);
    const auto [found, added] = storages_.try_emplace({view.storage->text, view.storage->dtype});
    if (added) found->second = read_storage(*view.storage);
    return found->second.as_strided(view.sizes, view.strides, view.offset);
  }

  at::Tensor read_storage(const PickleValue& storage) const {
    ZipStream stream(*archive_.archive, storage_name(storage));
    const bool boolean = storage.dtype == at::kBool;  // a byte other than 0 or 1 is not a valid bool
    at::Tensor numbers = at::empty({storage.number}, boolean ? at::kByte : storage.dtype);
    stream.read(numbers.mutable_data_ptr(), numbers.nbytes());
    stream.finish();
    return boolean ? numbers.ne(0) : numbers;
  }

  OpenArchive archive_;
  std::string folder_;  ///< with a trailing slash
  std::string pickle_;
  std::optional<Pickle> document_;
  std::map<std::string, View> views_;
  /// Storages read so far. Views share them, so that a small file cannot take much memory by naming one often.
  mutable std::map<std::pair<std::string_view, at::ScalarType>, at::Tensor> storages_;
};

}  // namespace

std::unique_ptr<TensorFile> open_pytorch(OpenArchive archive, const std::string& state_dict, std::string& rest) {
  return std::make_unique<PytorchFile>(std::move(archive), state_dict, rest);
}

}  // namespace respeft::formats
