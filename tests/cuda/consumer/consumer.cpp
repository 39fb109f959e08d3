#include <ATen/core/dispatch/Dispatcher.h>

#include <cstdio>

int main() {
  const auto op = c10::Dispatcher::singleton().findSchema({"respeft::rescaled_linear", ""});
  const bool registered = op && op->hasKernelForDispatchKey(c10::DispatchKey::CUDA);
  std::puts(registered ? "respeft::rescaled_linear has a CUDA kernel" : "no CUDA kernel");
  return registered ? 0 : 1;
}
