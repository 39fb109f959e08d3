#pragma once

#include <ATen/core/Tensor.h>

#include "cuda/cost.h"

/// Which kernels an operator takes.
namespace respeft::ops::cuda {

/// How an operator computes what can be computed in one kernel of ours or with the vendor's library.
enum class Way {
  Cheapest,  ///< whichever `cuda/cost.h` predicts to be faster
  Fused,     ///< our kernel
  Vendor,    ///< the vendor's product
};

/// Sets the way of every operator while it lives, in all threads (autograd runs backwards in its own); for tests and benchmarks.
class ScopedWay {
 public:
  explicit ScopedWay(Way way);
  ScopedWay(const ScopedWay&) = delete;
  ScopedWay& operator=(const ScopedWay&) = delete;
  ~ScopedWay();

 private:
  Way before_;
};

/// Whether to take our kernel, given what it and the alternative are predicted to cost.
bool takes_fused(const ::respeft::cuda::Cost& fused, const ::respeft::cuda::Cost& vendor);

/// Whether float32 products are exact; otherwise TF32 is allowed (`at::globalContext().setAllowTF32CuBLAS`).
bool exact_products();

::respeft::cuda::Arithmetic arithmetic(const at::Tensor& tensor);

}  // namespace respeft::ops::cuda
