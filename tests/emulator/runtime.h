#pragma once

#include <cstdint>

#include "device.h"

/// What the parts of the runtime know of the running block.
namespace emulator::runtime {

unsigned current_thread();
/// Sleeps until another thread wakes this one; a deadlock's report tells "`what` at `place`", with the lanes waited for.
void wait(const char* what, device::Place place, unsigned mask = 0);
void wake(unsigned thread);
/// Gives another thread a chance, if the order is random.
void yield_if_random();
/// Lanes of the warp that have not returned.
unsigned lanes_alive(unsigned warp);
bool on_a_stack(uintptr_t address);
/// Ends the launch, from a thread.
[[noreturn]] void stop();

/// Forgets the collectives of the block before.
void reset_collectives(unsigned warps);

}  // namespace emulator::runtime
