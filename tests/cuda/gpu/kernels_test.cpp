// The kernels on a GPU: the cases that pass on the emulator, through the library's own launchers.

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/rescaled_linear.h"
#include "cuda/shortcut.h"
#include "tests/cuda/gpu/device.h"
#include "tests/cuda/gpu/guarded.h"
#include "tests/cuda/kernels/cases.h"

namespace respeft::cuda::test {

void require(cudaError_t status, const std::string& what) {
  if (status != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorString(status));
}

/// What went wrong since the last `verify`, and whether anything runs on the device any more: after a fault of a kernel no memory
/// of the process's can be touched.
struct State {
  std::vector<std::string> faults;
  bool lost = false;
};
State& state() {
  static State only;
  return only;
}

/// Managed memory between guard zones; as `emulator::Buffer`.
template <class T>
class ManagedBuffer {
 public:
  explicit ManagedBuffer(size_t size, const std::string& name, bool initialized = true, size_t offset = 0)
      : name_(name), size_(size), memory_(allocate(size * sizeof(T), offset * sizeof(T)), size * sizeof(T), offset * sizeof(T)) {
    if (initialized) std::memset(memory_.data(), 0, size * sizeof(T));
  }
  ManagedBuffer(const ManagedBuffer&) = delete;
  ManagedBuffer& operator=(const ManagedBuffer&) = delete;
  ~ManagedBuffer() {
    if (state().lost) return;
    if (const auto fault = memory_.fault(); !fault.empty()) state().faults.push_back(name_ + " was " + fault);
    if (cudaFree(block_) != cudaSuccess) state().lost = true;
  }

  T* data() { return reinterpret_cast<T*>(memory_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(memory_.data()); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }

 private:
  void* allocate(size_t bytes, size_t offset) {
    require(cudaMallocManaged(&block_, Guarded::block_bytes(bytes, offset), cudaMemAttachGlobal), "cudaMallocManaged");
    return block_;
  }

  std::string name_;
  size_t size_;
  void* block_ = nullptr;
  Guarded memory_;
};

template <class Precision>
constexpr bool kExact = std::is_same_v<Precision, Float32>;

/// What launches a kernel of tests/cuda/kernels/backend.h in the library.
template <class Kernel>
struct Launcher;
template <class Precision>
struct Launcher<RescaleKernel<Precision>> {
  static constexpr auto launch = launch_rescale_weight<typename Precision::Element>;
};
template <class Precision>
struct Launcher<SumPartsKernel<Precision>> {
  static constexpr auto launch = launch_sum_parts<typename Precision::Element>;
};
template <class Precision>
struct Launcher<ScaleGradientsKernel<Precision>> {
  static cudaError_t launch(const ScaleGradientsParams<typename Precision::Element>& params, cudaStream_t stream) {
    return launch_scale_gradients(params, kExact<Precision>, stream);
  }
};
template <class Precision>
struct Launcher<FoldKernel<Precision>> {
  static cudaError_t launch(const FoldParams<typename Precision::Element>& params, cudaStream_t stream) {
    return launch_fold_update(params, kExact<Precision>, stream);
  }
};
template <class Precision, Direction direction>
struct Launcher<RescaledProductKernel<Precision, direction>> {
  static cudaError_t launch(const RescaledProductParams<typename Precision::Element>& params, cudaStream_t stream) {
    return launch_rescaled_product(direction, params, kExact<Precision>, stream);
  }
};
template <class Precision, Direction direction>
struct Launcher<ThinProductKernel<Precision, direction>> {
  static cudaError_t launch(const ThinProductParams<typename Precision::Element>& params, cudaStream_t stream) {
    return launch_thin_product(direction, params, kExact<Precision>, stream);
  }
};
template <class Precision, Direction direction>
struct Launcher<UpdatedProductKernel<Precision, direction>> {
  static cudaError_t launch(const UpdatedProductParams<typename Precision::Element>& params, cudaStream_t stream) {
    return launch_updated_product(direction, params, kExact<Precision>, stream);
  }
};

/// The GPU, on a stream of its own.
class Backend {
 public:
  template <class T>
  using Buffer = ManagedBuffer<T>;

  Backend() { require(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend() {
    if (!state().lost) static_cast<void>(cudaStreamDestroy(stream_));
  }

  template <class Kernel>
  void run(const LaunchShape&, const typename Kernel::Params& params) {
    require(Launcher<Kernel>::launch(params, stream_), Kernel::name() + ", its launch");
    const auto status = cudaStreamSynchronize(stream_);
    state().lost = status != cudaSuccess;
    require(status, Kernel::name());
  }
  void verify() {
    for (const auto& fault : std::exchange(state().faults, {})) ADD_FAILURE() << fault;
  }
  std::string describe() const { return "on the GPU"; }

 private:
  cudaStream_t stream_ = nullptr;
};

template <class Check>
void for_each_backend(const Check& check) {
  if (const auto why = why_no_device(); !why.empty()) GTEST_SKIP() << why;
  if (state().lost) FAIL() << "not run: the device was lost in an earlier test";
  Backend backend;
  check(backend);
}

TEST(GuardZones, FindWhatIsWrittenBesideTheBytes) {
  constexpr size_t bytes = 40, offset = 2;
  std::vector<unsigned char> block(Guarded::block_bytes(bytes, offset));
  const auto fault_after = [&](std::ptrdiff_t at) {
    const Guarded guarded(block.data(), bytes, offset);
    guarded.data()[at] ^= 1;
    return guarded.fault();
  };
  EXPECT_EQ(fault_after(0), "");
  EXPECT_EQ(fault_after(bytes - 1), "");
  EXPECT_EQ(fault_after(-1), "written 1 bytes before its begin");
  EXPECT_EQ(fault_after(bytes), "written 0 bytes after its end");
  EXPECT_EQ(fault_after(-static_cast<std::ptrdiff_t>(Guarded::kZone + offset)), "written 4098 bytes before its begin");
  EXPECT_EQ(fault_after(bytes + Guarded::kZone - 1), "written 4095 bytes after its end");
}

TEST(GuardZones, AreNotNumbers) {
  std::vector<unsigned char> block(Guarded::block_bytes(8, 0));
  const Guarded guarded(block.data(), 8, 0);
  for (const std::ptrdiff_t at : {-4, 0, 8}) {
    float single;
    __half half;
    __nv_bfloat16 bfloat;
    std::memcpy(&single, guarded.data() + at, sizeof(single));
    std::memcpy(static_cast<void*>(&half), guarded.data() + at, sizeof(half));
    std::memcpy(static_cast<void*>(&bfloat), guarded.data() + at, sizeof(bfloat));
    EXPECT_TRUE(std::isnan(single));
    EXPECT_TRUE(std::isnan(static_cast<float>(half)));
    EXPECT_TRUE(std::isnan(static_cast<float>(bfloat)));
  }
}

TEST(GuardZones, AreLookedAtWhenABufferGoes) {
  if (const auto why = why_no_device(); !why.empty()) GTEST_SKIP() << why;
  for (const bool spoilt : {false, true}) {
    {
      ManagedBuffer<float> buffer(4, "buffer");
      if (spoilt) buffer.data()[4] = 0.0f;
    }
    const auto faults = std::exchange(state().faults, {});
    EXPECT_EQ(faults, spoilt ? std::vector<std::string>{"buffer was written 0 bytes after its end"} : std::vector<std::string>{});
  }
}

}  // namespace respeft::cuda::test

#include "tests/cuda/kernels/tests.h"
