#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <respeft/core/named_tensors.h>

// Prefixes that training programs put before every name of a model: `module.`, `_orig_mod.`, `model.`, `backbone.`, in any order.
namespace respeft::models {

/// A state dict found among other names.
struct Wrapped {
  std::string wrapper;  ///< before every name: nothing, or words with a dot behind each
  std::string inner;    ///< what follows it, one of the prefixes that the layout itself may have
};

/// Where a tensor with the name `anchor` stands in the state dict, behind one of the prefixes `inner` of its layout. Several
/// places are several models.
std::vector<Wrapped> find_wrapped(const TensorMap& tensors, std::string_view anchor, const std::vector<std::string_view>& inner);

/// The only place of those found. Throws `std::runtime_error` that names the prefixes where there are several.
const Wrapped& only(const std::vector<Wrapped>& found);

/// Removes `wrapper` from the names that have it; the others stay. Throws `std::runtime_error` where two become one.
TensorMap unwrapped(TensorMap tensors, const std::string& wrapper);

}  // namespace respeft::models
