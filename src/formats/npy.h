#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <vector>

namespace respeft::formats {

/// The header of a NumPy array file. Source: numpy.lib.format, versions 1.0 to 3.0.
struct NpyHeader {
  at::ScalarType dtype = at::kFloat;
  bool big_endian = false, fortran_order = false;
  std::vector<int64_t> shape;

  /// Size of the array's data in bytes. Throws `std::runtime_error` with the fault if it overflows.
  uint64_t data_bytes() const;
  /// The array with the bytes of `data`, a tensor of that size.
  at::Tensor array(at::Tensor data) const;
};

/// Number of bytes that determine the header's length.
constexpr size_t kNpyStartBytes = 12;
/// The length of the whole header, from the file's first `kNpyStartBytes` bytes (fewer at the end of the file). Throws
/// `std::runtime_error` with the fault.
size_t npy_header_bytes(std::string_view start);
/// Parses a whole header. Throws `std::runtime_error` with the fault, also on arrays of objects, text or records.
NpyHeader parse_npy_header(std::string_view header);

}  // namespace respeft::formats
