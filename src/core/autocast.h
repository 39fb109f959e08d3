#pragma once

#include <ATen/autocast_mode.h>

#include <string>

namespace respeft {

/// While it lives, `precision` (`float32` or `bfloat16`) is what forward passes on the CPU compute in.
class Autocast {
 public:
  explicit Autocast(const std::string& precision)
      : enabled_before_(at::autocast::is_autocast_enabled(at::kCPU)), dtype_before_(at::autocast::get_autocast_dtype(at::kCPU)) {
    at::autocast::set_autocast_enabled(at::kCPU, precision == "bfloat16");
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  }
  ~Autocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, enabled_before_);
    at::autocast::set_autocast_dtype(at::kCPU, dtype_before_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_before_;
  at::ScalarType dtype_before_;
};

}  // namespace respeft
