#pragma once

#include <ATen/core/Tensor.h>

#include "cuda/cost.h"

/// Selection of an operator's implementation.
namespace respeft::ops::cuda {

/// Implementation of a computation that our kernel and cuBLAS can both do.
enum class Way {
  Cheapest,  ///< whichever `cuda/cost.h` predicts to be faster
  Fused,     ///< our kernel
  Vendor,    ///< cuBLAS
};

/// Sets the implementation of every operator while it lives, in all threads (autograd runs the backward in its own). For tests
/// and benchmarks.
class ScopedWay {
 public:
  explicit ScopedWay(Way way);
  ScopedWay(const ScopedWay&) = delete;
  ScopedWay& operator=(const ScopedWay&) = delete;
  ~ScopedWay();

 private:
  Way before_;
};

/// True if our kernel should run, given the predicted costs of both.
bool takes_fused(const ::respeft::cuda::Cost& fused, const ::respeft::cuda::Cost& vendor);

/// True if float32 products are exact; false if TF32 is allowed (`at::globalContext().setAllowTF32CuBLAS`).
bool exact_products();

::respeft::cuda::Arithmetic arithmetic(const at::Tensor& tensor);

}  // namespace respeft::ops::cuda
