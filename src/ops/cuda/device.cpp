#include "src/ops/cuda/device.h"

#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

#include <mutex>
#include <unordered_map>

namespace respeft::ops::cuda {

const ::respeft::cuda::Architecture& gpu() {
  static std::mutex mutex;
  static std::unordered_map<int, ::respeft::cuda::Architecture> known;  // references stay valid when it grows
  const std::lock_guard lock(mutex);
  const int device = at::cuda::current_device();
  if (const auto found = known.find(device); found != known.end()) return found->second;
  const auto* properties = at::cuda::getDeviceProperties(device);
  TORCH_CHECK(properties->major >= 8, "respeft's CUDA kernels need a GPU of compute capability 8.0 or newer, and ",
              properties->name, " (cuda:", device, ") has ", properties->major, ".", properties->minor,
              ": compute on the CPU, on a newer GPU, or in float64, which takes ATen's operators");
  return known
      .emplace(device, ::respeft::cuda::architecture_of(properties->major, properties->minor, properties->multiProcessorCount))
      .first->second;
}

cudaStream_t stream() {
  return at::cuda::getCurrentCUDAStream();
}

void check(cudaError_t status) {
  C10_CUDA_CHECK(status);
}

}  // namespace respeft::ops::cuda
