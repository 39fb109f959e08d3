#pragma once

#include <stdexcept>

namespace respeft {

/// The root of the errors that this library has types of its own for: `Interrupted`, `data::DataError`, `ToleranceExceeded`.
///
/// Everything else that the library throws is one of two standard types. `std::invalid_argument`: the caller asked for something
/// that cannot be, such as an unknown name or a value out of range (the program's exit status 2). `std::runtime_error`: the work
/// failed, such as a file that is damaged or missing, or a loss that is not finite (exit status 1); `Error` is one of these. Each
/// message is whole sentences for people and names the file, key or setting and the fault. What LibTorch finds wrong with tensors
/// comes as `c10::Error`, which is a `std::exception` as all of these are.
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
