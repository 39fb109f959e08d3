#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

namespace respeft::formats {

/// What the header of a NumPy array file says. Source: numpy.lib.format, versions 1.0 to 3.0.
struct NpyHeader {
  at::ScalarType dtype = at::kFloat;
  bool big_endian = false, fortran_order = false;
  std::vector<int64_t> shape;

  /// Bytes of the array's data. Throws `std::runtime_error` with the fault if they are more than can be counted.
  uint64_t data_bytes() const;
  /// The array whose data lie in `data`, a tensor of as many bytes.
  at::Tensor array(at::Tensor data) const;
};

/// So many bytes tell the header's length.
constexpr size_t kNpyStartBytes = 12;
/// The length of the whole header, from the file's first `kNpyStartBytes` (fewer where the file ends). Throws
/// `std::runtime_error` with the fault.
size_t npy_header_bytes(std::string_view start);
/// Parses a whole header. Arrays of objects, of text and of records are refused. Throws `std::runtime_error` with the fault.
NpyHeader parse_npy_header(std::string_view header);

}  // namespace respeft::formats
