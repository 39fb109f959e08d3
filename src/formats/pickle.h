#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace respeft::formats {

/// A value in a pickle. The pickle owns the values it refers to, which may be shared or cyclic.
struct PickleValue {
  enum class Kind : uint8_t { none, boolean, number, text, sequence, dict, global, storage, tensor, other };

  Kind kind = Kind::none;
  bool holds_tensors = false;         ///< dict: some of its values are tensors
  at::ScalarType dtype = at::kFloat;  ///< storage: its element type
  int64_t number =
      0;  ///< integer or boolean: its value; storage: its number of elements; tensor: its offset; global: its table index
  std::string_view text;            ///< text: its value; storage: its key
  std::vector<PickleValue*> items;  ///< sequence: its items; dict: keys and values alternately; tensor: storage, sizes, strides

  bool is(Kind wanted) const { return kind == wanted; }
  /// The kind for messages, e.g. "a number".
  const char* description() const;
};

/// A pickle of protocol 2 to 5, as `torch.save` writes it, with tensors and plain containers. Nothing is executed: a pickle
/// refers to objects by name; the few known ones become values of the kinds above, and any other is an error that names it.
/// Memory is proportional to the pickle's size. Source of the format: Python's pickletools; of the objects: torch/_utils.py.
class Pickle {
 public:
  /// `bytes` must outlive the pickle. Throws `std::runtime_error` with the fault.
  explicit Pickle(std::string_view bytes);
  const PickleValue& root() const { return *root_; }
  /// True if it refers to objects that `torch.load(FILE, weights_only=True)` refuses, such as a training program's flags.
  bool has_objects() const { return has_objects_; }

 private:
  std::deque<PickleValue> values_;
  bool has_objects_ = false;
  const PickleValue* root_ = nullptr;
};

}  // namespace respeft::formats
