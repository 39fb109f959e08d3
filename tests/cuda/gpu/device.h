#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace respeft::cuda::test {

/// Why the kernels cannot run on this machine; empty if they can.
inline std::string why_no_device() {
  int count = 0, major = 0, minor = 0;
  auto status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
  if (status == cudaSuccess) status = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
  if (status != cudaSuccess) return std::string("no CUDA device: ") + cudaGetErrorString(status);
  if (major < 8)
    return "no CUDA device: compute capability 8.0 is needed, the one here has " + std::to_string(major) + "." +
           std::to_string(minor);
  return "";
}

}  // namespace respeft::cuda::test
