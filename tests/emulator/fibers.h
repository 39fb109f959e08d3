#pragma once

#include <array>
#include <cstdint>

#include "emulator.h"

namespace emulator {

/// Numbers that depend on the seed alone (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed = 0) : state_(seed) {}
  uint64_t operator()();
  /// From 0 to `limit` − 1.
  unsigned below(unsigned limit) { return static_cast<unsigned>(((*this)() >> 32) * limit >> 32); }

 private:
  uint64_t state_;
};

/// Cooperative threads, each with a stack of its own, of which one runs at a time in the order of a schedule.
class Fibers {
 public:
  static constexpr unsigned kMost = 1024;

  /// Runs `entry` as threads 0 to `count` − 1. Returns when none of them can go on: all have returned, the others sleep, or one
  /// called `stop`.
  void run(unsigned count, Order order, Random& random, void (*entry)());

  // Called by threads.
  unsigned current() const { return current_; }
  void sleep();  ///< until another thread wakes this one
  void wake(unsigned thread);
  void yield();              ///< goes on with any thread that can, drawn at random
  [[noreturn]] void stop();  ///< none runs any more
  /// Whether `address` lies on the stack of `thread`, or of any thread.
  bool on_stack(unsigned thread, uintptr_t address) const { return address - stack(thread) < kStackBytes; }
  bool on_a_stack(uintptr_t address) const { return address - reinterpret_cast<uintptr_t>(stacks_) < kMost * kStride; }

 private:
  static constexpr size_t kStackBytes = 256 * 1024, kGuardBytes = 4096, kStride = kStackBytes + kGuardBytes;

  uintptr_t stack(unsigned thread) const { return reinterpret_cast<uintptr_t>(stacks_) + thread * kStride + kGuardBytes; }
  void prepare(unsigned thread);
  void draw_order(unsigned count, Order order, Random& random);
  unsigned next(bool drawn);
  void switch_from(void** save, unsigned thread);
  static void enter();

  unsigned char* stacks_ = nullptr;
  unsigned stacks_made_ = 0;
  std::array<void*, kMost> saved_{};          // stack pointers of the threads that do not run
  std::array<uint64_t, kMost / 64> ready_{};  // by position
  std::array<uint16_t, kMost> thread_at_{}, position_of_{};
  unsigned ready_count_ = 0, current_ = 0;
  void* host_ = nullptr;
  void (*entry_)() = nullptr;
  Order order_ = Order::Random;
  Random* random_ = nullptr;
};

}  // namespace emulator
