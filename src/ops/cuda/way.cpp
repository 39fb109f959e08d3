#include "src/ops/cuda/way.h"

#include <ATen/Context.h>

#include <atomic>

namespace respeft::ops::cuda {
namespace {

std::atomic<Way> current_way = Way::Cheapest;

}  // namespace

ScopedWay::ScopedWay(Way way) : before_(current_way.exchange(way)) {}
ScopedWay::~ScopedWay() {
  current_way = before_;
}

bool takes_fused(const ::respeft::cuda::Cost& fused, const ::respeft::cuda::Cost& vendor) {
  const Way way = current_way;
  return way == Way::Cheapest ? fused.time() <= vendor.time() : way == Way::Fused;
}

bool exact_products() {
  return !at::globalContext().allowTF32CuBLAS();
}

::respeft::cuda::Arithmetic arithmetic(const at::Tensor& tensor) {
  using ::respeft::cuda::Arithmetic;
  if (tensor.scalar_type() != at::kFloat) return Arithmetic::Half;
  return exact_products() ? Arithmetic::Float32 : Arithmetic::Tf32;
}

}  // namespace respeft::ops::cuda
