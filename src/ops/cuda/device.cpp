#include "src/ops/cuda/device.h"

#include <ATen/Context.h>
#include <ATen/cuda/CUDAContext.h>

#include <atomic>
#include <mutex>
#include <unordered_map>

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

const ::respeft::cuda::Architecture& gpu() {
  static std::mutex mutex;
  static std::unordered_map<int, ::respeft::cuda::Architecture> known;  // references stay valid when it grows
  const std::lock_guard lock(mutex);
  const int device = at::cuda::current_device();
  if (const auto found = known.find(device); found != known.end()) return found->second;
  const auto* properties = at::cuda::getDeviceProperties(device);
  return known
      .emplace(device, ::respeft::cuda::architecture_of(properties->major, properties->minor, properties->multiProcessorCount))
      .first->second;
}

cudaStream_t stream() {
  return at::cuda::getCurrentCUDAStream();
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
