// Takes the CUDA runtime's place in a program that is linked with the kernels' objects: launches are printed as JSON lines, and
// nothing runs. Kernels are registered under their mangled names before main(), as with the true runtime.
#include <driver_types.h>
#include <vector_types.h>

#include <cstdio>
#include <map>
#include <string>

namespace {

std::map<const void*, std::string>& kernels() {
  static std::map<const void*, std::string> names;
  return names;
}

std::map<const void*, int>& granted_shared() {
  static std::map<const void*, int> bytes;
  return bytes;
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*, int*) {
  kernels()[host] = name;
}

// The <<<…>>> form ends in these; launches here are made by cudaLaunchKernel.
cudaError_t __cudaGetKernel(cudaKernel_t*, const void*) {
  return cudaErrorNotSupported;
}
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) {
  return cudaErrorNotSupported;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void**, size_t, cudaStream_t) {
  return cudaErrorNotSupported;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) granted_shared()[kernel] = value;
  return cudaSuccess;
}

cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 block, void**, size_t shared, cudaStream_t) {
  const auto granted = granted_shared().find(kernel);
  const bool allowed =
      shared <= 48 * 1024 || (granted != granted_shared().end() && shared <= static_cast<size_t>(granted->second));
  const auto name = kernels().find(kernel);
  if (name == kernels().end()) return cudaErrorInvalidDeviceFunction;
  std::printf(R"({"kernel": "%s", "grid": [%u, %u, %u], "block": [%u, %u, %u], "shared_bytes": %zu, "shared_granted": %s})"
              "\n",
              name->second.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, allowed ? "true" : "false");
  return cudaSuccess;
}

}  // extern "C"
