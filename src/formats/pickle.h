#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace respeft::formats {

/// A value in a pickle. Others that it is made of are owned by the pickle, and may be shared or go in circles.
struct PickleValue {
  enum class Kind : uint8_t { none, boolean, number, text, sequence, dict, global, storage, tensor, other };

  Kind kind = Kind::none;
  bool holds_tensors = false;         ///< of a dict: some of its values are tensors
  at::ScalarType dtype = at::kFloat;  ///< of a storage
  int64_t number = 0;  ///< an integer's or boolean's value; a storage's numbers; a tensor's offset; a global's place in the table
  std::string_view text;            ///< a text; a storage's key
  std::vector<PickleValue*> items;  ///< of a sequence; of a dict: keys and values in turn; of a tensor: storage, sizes, strides

  bool is(Kind wanted) const { return kind == wanted; }
  /// "a number" and the like, for messages.
  const char* description() const;
};

/// A pickle as `torch.save` writes it, of protocol 2 to 5, with tensors and plain containers. Nothing is executed: a pickle
/// asks for objects by name, and the few that are known become values of the kinds above; any other is refused by its name.
/// Takes memory in proportion to the pickle. Source of the format: Python's pickletools; of the objects: torch/_utils.py.
class Pickle {
 public:
  /// `bytes` must outlive the pickle. Throws `std::runtime_error` with the fault.
  explicit Pickle(std::string_view bytes);
  const PickleValue& root() const { return *root_; }

 private:
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

}  // namespace respeft::formats
