#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include <respeft/core/named_tensors.h>

namespace respeft {

struct RuntimeOptions {
  at::Device device = at::kCPU;
  std::string precision = "float32";  ///< of forward passes: `float32`, or `bfloat16` (autocast)
  int64_t threads = 0;                ///< for computing on the CPU; 0: as they are
};

/// While it lives, forward passes on a device compute in a precision. A guard: the settings before it return with its end.
class Autocast {
 public:
  /// Throws `std::invalid_argument` on a precision that is unknown, or that the device has no autocast for.
  Autocast(at::Device device, const std::string& precision);
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType device_;
  bool available_, enabled_before_ = false;
  at::ScalarType dtype_before_ = at::ScalarType::Undefined;
};

/// The device and the precision that work is done in. It is handed down, never global, and works for every device of LibTorch's.
class Runtime {
 public:
  /// Throws `std::invalid_argument` on a precision that is unknown, or that the device has no autocast for.
  explicit Runtime(const RuntimeOptions& options = {});

  at::Device device() const { return options_.device; }
  const std::string& precision() const { return options_.precision; }
  /// Forward passes compute in the working precision while it lives.
  Autocast autocast() const { return Autocast(options_.device, options_.precision); }

  /// Seeds every generator in use: the CPU's and the device's.
  void seed(uint64_t seed) const;
  /// The states of these generators, as part of a checkpoint: `generator` (the CPU's), and for a device e.g. `generator.cuda:0`.
  TensorMap generators() const;
  /// Restores `generators`; `tensors` may hold others too. Throws `std::runtime_error` that names a state that is missing or
  /// does not fit.
  void restore_generators(const TensorMap& tensors) const;

  /// Waits until the device has done all its work.
  void synchronize() const;
  /// Peak memory so far, in bytes: of the process on a CPU, otherwise of the device by LibTorch's allocator (0 if that does not
  /// count).
  int64_t peak_memory() const;

 private:
  RuntimeOptions options_;
};

}  // namespace respeft
