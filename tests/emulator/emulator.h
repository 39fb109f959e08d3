#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include <vector_types.h>

/// Runs CUDA kernels on the CPU: one fiber per CUDA thread, one block after the other, every interleaving decided by a seed.
///
/// A kernel comes either from its own source, compiled by the host's compiler with `tests/emulator/shim` before CUDA's headers
/// on the include path, or from the PTX that nvcc wrote for it (ptx.h). Either way its memory accesses pass through the checker.
namespace emulator {

/// Who runs next when several threads of a block could.
enum class Order {
  Forward,   ///< by thread number
  Reverse,   ///< by falling thread number
  Random,    ///< drawn anew at every switch
  Priority,  ///< by ranks drawn once a block, warps together: one warp can run far ahead of the others
};

/// One way of interleaving the threads of a block.
struct Schedule {
  Order order = Order::Random;
  uint64_t seed = 1;
  bool late_copies = true;  ///< asynchronous copies happen when they are waited for (otherwise when they are issued)
  unsigned preemption = 0;  ///< chance in 1,024 of a switch at a memory access (checked kernels only)
};

/// A grid of blocks of threads, as in a CUDA launch.
struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;  ///< of dynamic shared memory; it holds NaNs when a block starts
};

/// Runs `kernel` once per thread. What the checker finds is kept for `take_reports`, and what the kernel throws ends the launch
/// and is thrown on. Kernels read their arguments from the caller's stack: a pointer kept elsewhere on the host is to be copied
/// there.
void launch(const Launch& launch, const Schedule& schedule, void (*kernel)(void* closure), void* closure);
template <class Kernel>
void launch(const Launch& how, const Schedule& schedule, Kernel&& kernel) {
  using Closure = std::remove_reference_t<Kernel>;
  launch(
      how, schedule, [](void* closure) { (*static_cast<Closure*>(closure))(); },
      const_cast<void*>(static_cast<const void*>(&kernel)));
}

/// What was found since the last call: data races, accesses out of bounds, misaligned or of uninitialized memory, barriers that
/// not every thread reaches, deadlocks. One line each, with the source line (or the PTX instruction); a fault is reported once.
std::vector<std::string> take_reports();

namespace internal {
unsigned char* allocate(size_t bytes, size_t offset, const std::string& name, bool initialized);
void release(unsigned char* data);
}  // namespace internal

/// Global memory with forbidden zones on both sides, known to the checker by `name`.
template <class T>
class Buffer {
 public:
  /// Of `size` zeros, or (`initialized` false) of bytes that a kernel must write before it reads them.
  /// `offset` shifts the first element by that many elements from a 256-byte boundary.
  explicit Buffer(size_t size, const std::string& name, bool initialized = true, size_t offset = 0)
      : data_(internal::allocate(size * sizeof(T), offset * sizeof(T), name, initialized)), size_(size) {}
  explicit Buffer(const std::vector<T>& values, const std::string& name, size_t offset = 0)
      : Buffer(values.size(), name, true, offset) {
    if (size_ > 0) std::memcpy(data_, values.data(), size_ * sizeof(T));
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { internal::release(data_); }

  T* data() { return reinterpret_cast<T*>(data_); }
  const T* data() const { return reinterpret_cast<const T*>(data_); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data()[i]; }
  const T& operator[](size_t i) const { return data()[i]; }

 private:
  static_assert(std::is_trivially_copyable_v<T>);
  unsigned char* data_;
  size_t size_;
};

}  // namespace emulator
