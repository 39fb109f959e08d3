#include "src/formats/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

namespace respeft::formats {

uint64_t tensor_bytes(at::ScalarType dtype, const std::vector<int64_t>& shape) {
  auto bound = static_cast<int64_t>(c10::elementSize(dtype));
  bool empty = false;
  for (const int64_t size : shape) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bound, std::max<int64_t>(size, 1), &bound)) {
      throw std::runtime_error(fmt::format("the shape [{}] is too large", fmt::join(shape, ", ")));
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bound);
}

}  // namespace respeft::formats
