#pragma once

#include <stdexcept>

namespace respeft {

/// Base class of this library's own exceptions: `Interrupted`, `data::DataError`, `ToleranceExceeded`.
///
/// Otherwise the library throws two standard types. `std::invalid_argument`: a wrong argument, such as an unknown name or a
/// value out of range (the program's exit status 2). `std::runtime_error`: the work failed, such as a damaged or missing file,
/// or a loss that is not finite (exit status 1); `Error` derives from it. Each message names the file, key or setting and the
/// fault. LibTorch reports wrong tensors as `c10::Error`. All of them are `std::exception`s.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A result differs from the one it must equal by more than the tolerance.
class ToleranceExceeded : public Error {
 public:
  using Error::Error;
};

}  // namespace respeft
