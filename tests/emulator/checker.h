#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device.h"

/// Follows every access to global and shared memory, byte by byte, and reports those that are wrong under some interleaving or on
/// some device. Threads are ordered by block barriers and, within a warp, by warp barriers (vector clocks); blocks are not
/// ordered.
namespace emulator::checker {

/// Whether kernel code runs: its accesses are checked. The runtime's own are not, although it may use functions of the standard
/// library that were compiled, with the compiler's hooks, in a kernel's file.
extern bool in_kernel;
class OutsideKernel {
 public:
  OutsideKernel() : before_(in_kernel) { in_kernel = false; }
  ~OutsideKernel() { in_kernel = before_; }
  OutsideKernel(const OutsideKernel&) = delete;
  OutsideKernel& operator=(const OutsideKernel&) = delete;

 private:
  bool before_;
};

void set_enabled(bool enabled);
bool enabled();

// What happens in a launch. `host_stack` is an address on the stack of its caller.
void begin_launch(uintptr_t host_stack, unsigned char* shared, size_t shared_bytes, size_t zone_before, size_t zone_after);
void end_launch();
void begin_block(unsigned block);
void block_barrier();
void warp_barrier(unsigned warp, unsigned mask);

/// An access by `thread` of the running block. Ends the launch, as a GPU would, if it is misaligned or to memory
/// that no kernel may touch.
void access(unsigned thread, const void* pointer, size_t size, device::Access access, device::Place place, size_t alignment);
bool is_shared(const void* pointer);
/// Ends the launch if a global access to `pointer` would leave global memory.
void expect_global(unsigned thread, const void* pointer, device::Place place);

/// An asynchronous copy to shared memory: `bytes` bytes from `global`, zeros after them.
struct Copy {
  void* shared;
  const void* global;
  size_t size, bytes;
  device::Place place;
};
/// In between, the copy may read and write at any time.
void begin_copy(unsigned thread, const Copy& copy);
void end_copy(unsigned thread, const Copy& copy);

void add_memory(unsigned char* data, size_t size, size_t zone, const std::string& name, bool initialized);
void remove_memory(unsigned char* data);

/// Adds `what`, with `detail` after it; `what` is not repeated.
void report(const std::string& what, const std::string& detail = "");
std::vector<std::string> take_reports();

}  // namespace emulator::checker
