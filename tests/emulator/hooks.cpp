#include <cstddef>
#include <cstdint>

#include "checker.h"
#include "device.h"

/// What g++ -fsanitize=thread calls for every access to memory. A program that links this file, in place of the sanitizer's own
/// library, has its kernels checked. Atomic operations are the host's: kernels have their own, in the shim.

namespace {

using emulator::device::Access;

inline void hook(const void* pointer, size_t size, Access access, size_t alignment, const void* return_address) {
  if (!emulator::checker::in_kernel) return;
  emulator::device::touch(pointer, size, access, emulator::device::Place::address(return_address), alignment);
}

}  // namespace

#define ACCESS_HOOK(name, access, size, alignment)                               \
  void __tsan_##name(const void* pointer) {                                      \
    hook(pointer, size, Access::access, alignment, __builtin_return_address(0)); \
  }
#define ACCESS_HOOKS(size)                         \
  ACCESS_HOOK(read##size, Read, size, size)        \
  ACCESS_HOOK(write##size, Write, size, size)      \
  ACCESS_HOOK(unaligned_read##size, Read, size, 1) \
  ACCESS_HOOK(unaligned_write##size, Write, size, 1)
#define ATOMIC_UPDATE(bits, type, name)                                  \
  type __tsan_atomic##bits##_##name(volatile type* p, type value, int) { \
    return __atomic_##name(p, value, __ATOMIC_SEQ_CST);                  \
  }
#define ATOMIC_COMPARE(bits, type, name)                                                                       \
  bool __tsan_atomic##bits##_compare_exchange_##name(volatile type* p, type* expected, type value, int, int) { \
    return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
  }
#define ATOMIC_HOOKS(bits, type)                                           \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {           \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                           \
  }                                                                        \
  void __tsan_atomic##bits##_store(volatile type* p, type value, int) {    \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                          \
  }                                                                        \
  type __tsan_atomic##bits##_exchange(volatile type* p, type value, int) { \
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                \
  }                                                                        \
  ATOMIC_UPDATE(bits, type, fetch_add)                                     \
  ATOMIC_UPDATE(bits, type, fetch_sub)                                     \
  ATOMIC_UPDATE(bits, type, fetch_and)                                     \
  ATOMIC_UPDATE(bits, type, fetch_or)                                      \
  ATOMIC_UPDATE(bits, type, fetch_xor)                                     \
  ATOMIC_COMPARE(bits, type, strong)                                       \
  ATOMIC_COMPARE(bits, type, weak)

extern "C" {

void __tsan_init() {
  emulator::device::set_checked(true);
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

ACCESS_HOOKS(1)
ACCESS_HOOKS(2)
ACCESS_HOOKS(4)
ACCESS_HOOKS(8)
ACCESS_HOOKS(16)
void __tsan_read_range(const void* pointer, size_t size) {
  hook(pointer, size, Access::Read, 1, __builtin_return_address(0));
}
void __tsan_write_range(const void* pointer, size_t size) {
  hook(pointer, size, Access::Write, 1, __builtin_return_address(0));
}

ATOMIC_HOOKS(8, uint8_t)
ATOMIC_HOOKS(16, uint16_t)
ATOMIC_HOOKS(32, uint32_t)
ATOMIC_HOOKS(64, uint64_t)
void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
