// The emulated GPU beneath the operators: tensors lie in its memory and are the CPU's to ATen, and the operators' CPU
// implementations are those of src/ops/cuda.

#include "tests/cuda/ops/device.h"

#include <c10/core/Allocator.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <cstring>
#include <string>

#include "src/ops/cuda/device.h"
#include "src/ops/cuda/operators.h"
#include "tests/emulator/emulator.h"

namespace respeft::ops {
namespace {

/// Memory between zones that no kernel may touch, full of NaNs.
class EmulatedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, c10::Device(c10::kCPU)};
    auto* const data = emulator::internal::allocate(bytes, 0, "tensor of " + std::to_string(bytes) + " bytes", true);
    std::memset(data, 0xff, bytes);
    return {data, data, release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

 private:
  static void release(void* data) { emulator::internal::release(static_cast<unsigned char*>(data)); }
};

class EmulatedGpu : public testing::Environment {
 public:
  void SetUp() override {
    c10::SetAllocator(c10::kCPU, &memory_, /*priority=*/1);
    const c10::WarningUtils::WarningHandlerGuard silent(&ignore_);  // operators are implemented anew
    cuda::implement_rescaled_linear(library_);
    cuda::implement_shortcut(library_);
  }

 private:
  struct Ignore : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };

  EmulatedMemory memory_;
  Ignore ignore_;
  torch::Library library_{torch::Library::IMPL, "respeft", c10::DispatchKey::CPU, __FILE__, __LINE__};
};

[[maybe_unused]] const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new EmulatedGpu);

}  // namespace

namespace cuda {

const ::respeft::cuda::Architecture& gpu() {
  static const auto h100 = ::respeft::cuda::architecture_of(9, 0, 132);
  return h100;
}
cudaStream_t stream() {
  return nullptr;
}
void check(cudaError_t status) {
  TORCH_CHECK(status == cudaSuccess, "a launch failed with ", static_cast<int>(status));
}

}  // namespace cuda

namespace test {

const at::DeviceType kDevice = at::kCPU;
std::string why_no_device() {
  return "";
}
void expect_no_faults() {
  for (const auto& report : emulator::take_reports()) ADD_FAILURE() << report;
}

}  // namespace test
}  // namespace respeft::ops
