#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <vector>

namespace respeft::formats {

/// Largest accepted number of dimensions; no tensor library exceeds it, and it bounds the cost of a crafted shape.
constexpr size_t kMaxDimensions = 64;

/// Size in bytes of a tensor of this dtype and shape. Throws `std::runtime_error` with the fault if it overflows, also if a
/// dimension is 0, because strides could overflow.
uint64_t tensor_bytes(at::ScalarType dtype, const std::vector<int64_t>& shape);

}  // namespace respeft::formats
