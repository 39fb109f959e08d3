#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace respeft::formats {

/// A dimension count that no tensor library exceeds; it bounds what a crafted shape can cost.
constexpr size_t kMaxDimensions = 64;

/// The bytes that a tensor of this dtype and shape takes. The shape must be countable even where a dimension is empty, as its
/// strides are. Throws `std::runtime_error` with the fault.
uint64_t tensor_bytes(at::ScalarType dtype, const std::vector<int64_t>& shape);

}  // namespace respeft::formats
