#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include <respeft/core/named_tensors.h>

namespace respeft {

struct RuntimeOptions {
  at::Device device = at::kCPU;
  std::string precision = "float32";  ///< of forward passes: `float32`, or `bfloat16` (autocast)
  int64_t threads = 0;                ///< LibTorch's CPU threads; 0: unchanged
};

/// Scope guard: forward passes on a device compute in the given precision. Its destructor restores the previous settings.
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

/// The device and the precision of the computation. It is passed as an argument, never global, and supports every LibTorch
/// device.
class Runtime {
 public:
  /// Throws `std::invalid_argument` on a precision that is unknown, or that the device has no autocast for.
  explicit Runtime(const RuntimeOptions& options = {});

  at::Device device() const { return options_.device; }
  const std::string& precision() const { return options_.precision; }
  /// A guard under which forward passes compute in this precision.
  Autocast autocast() const { return Autocast(options_.device, options_.precision); }

  /// Seeds every generator in use: the CPU's and the device's.
  void seed(uint64_t seed) const;
  /// The states of these generators, for checkpoints: `generator` (the CPU's), and for a device e.g. `generator.cuda:0`.
  TensorMap generators() const;
  /// Restores `generators()`; ignores other tensors. Throws `std::runtime_error` that names a missing or invalid state.
  void restore_generators(const TensorMap& tensors) const;

  /// Waits until the device has finished all its work.
  void synchronize() const;
  /// Peak memory so far, in bytes: of the process on a CPU, otherwise as recorded by LibTorch's allocator for the device (0 if it
  /// records none).
  int64_t peak_memory() const;

 private:
  RuntimeOptions options_;
};

}  // namespace respeft
