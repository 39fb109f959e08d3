#include "runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <map>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

#include "checker.h"
#include "emulator.h"
#include "fibers.h"

namespace emulator {
namespace {

using checker::OutsideKernel;
using device::Access;
using device::Place;

constexpr size_t kZone = 4096;
constexpr size_t kMostShared = 227 * 1024;  // a block's on compute capability 9.0

using checker::Copy;

void perform(const Copy& copy) {
  std::memcpy(copy.shared, copy.global, copy.bytes);
  std::memset(static_cast<unsigned char*>(copy.shared) + copy.bytes, 0, copy.size - copy.bytes);
}

struct Thread {
  uint3 index;
  bool returned;
  const char* waits_for;  // or null
  Place place;
  unsigned mask;
  std::deque<std::vector<Copy>> copies;  // by group; the last is not committed

  void start(uint3 index_) {
    index = index_;
    returned = false;
    waits_for = nullptr;
    copies.assign(1, {});
  }
};

struct Barrier {
  unsigned arrived = 0;
  Place place;
  int count = 0, counted = 0;  // votes, and those of the last round
};

/// The launch under way.
struct State {
  Fibers fibers;
  Random random;
  Schedule schedule;
  dim3 grid, block;
  uint3 block_index;
  unsigned threads = 0, alive = 0;
  std::array<Thread, Fibers::kMost> thread;
  Barrier barrier;
  bool stopped = false;
  std::exception_ptr thrown;
  void (*kernel)(void*) = nullptr;
  void* closure = nullptr;
  unsigned char* shared = nullptr;
};

State& state() {
  static State instance;
  return instance;
}

Thread& current() {
  return state().thread[state().fibers.current()];
}
unsigned count(dim3 size) {
  return size.x * size.y * size.z;
}
uint3 position(unsigned number, dim3 size) {
  return {number % size.x, number / size.x % size.y, number / size.x / size.y};
}

void release_barrier() {
  State& s = state();
  s.barrier.arrived = 0;
  s.barrier.counted = std::exchange(s.barrier.count, 0);
  checker::block_barrier();
  for (unsigned i = 0; i < s.threads; ++i)
    if (s.thread[i].waits_for && s.thread[i].mask == 0) s.fibers.wake(i);
}

void run_thread() {
  State& s = state();
  try {
    checker::in_kernel = true;
    s.kernel(s.closure);
    checker::in_kernel = false;
  } catch (...) {
    checker::in_kernel = false;
    s.thrown = std::current_exception();
  }
  if (s.thrown) runtime::stop();
  current().returned = true;
  if (--s.alive > 0 && s.barrier.arrived == s.alive) {
    checker::report("a thread returns while others wait at the barrier at " + s.barrier.place.describe());
    release_barrier();
  }
}

void report_deadlock() {
  State& s = state();
  std::map<std::string, std::pair<unsigned, unsigned>> waiting;  // number of threads, first of them
  for (unsigned i = 0; i < s.threads; ++i) {
    const Thread& thread = s.thread[i];
    if (thread.returned) continue;
    std::array<char, 32> mask{};
    if (thread.mask) std::snprintf(mask.data(), mask.size(), " of lanes 0x%08x", thread.mask);
    ++waiting.try_emplace(std::string(thread.waits_for) + mask.data() + " at " + thread.place.describe(), 0u, i)
          .first->second.first;
  }
  std::string what = "deadlock:";
  for (const auto& [where, threads] : waiting)
    what += (what.back() == ':' ? " " : "; ") + std::to_string(threads.first) + " threads (the first is " +
            std::to_string(threads.second) + ") wait for the " + where;
  if (s.alive < s.threads) what += "; " + std::to_string(s.threads - s.alive) + " have returned";
  checker::report(what);
}

/// What no thread has waited for ends with the block.
void end_copies() {
  State& s = state();
  if (!checker::enabled()) return;
  for (unsigned i = 0; i < s.threads; ++i)
    for (const auto& group : s.thread[i].copies)
      for (const Copy& copy : group) checker::end_copy(i, copy);
}

/// Returns whether the launch goes on.
bool run_block(unsigned number, size_t shared_bytes) {
  State& s = state();
  s.block_index = position(number, s.grid);
  s.alive = s.threads;
  s.barrier = {};
  for (unsigned i = 0; i < s.threads; ++i) s.thread[i].start(position(i, s.block));
  runtime::reset_collectives((s.threads + 31) / 32);
  checker::begin_block(number);
  s.fibers.run(s.threads, s.schedule.order, s.random, run_thread);
  checker::in_kernel = false;
  if (s.alive > 0 && !s.stopped) report_deadlock();
  end_copies();
  std::memset(s.shared, 0xff, shared_bytes);  // what lies here may be in the next launch's zones
  return s.alive == 0;
}

std::vector<unsigned> block_order(unsigned blocks) {
  State& s = state();
  std::vector<unsigned> order(blocks);
  std::iota(order.begin(), order.end(), 0u);
  if (s.schedule.order == Order::Reverse) std::reverse(order.begin(), order.end());
  if (s.schedule.order == Order::Random || s.schedule.order == Order::Priority)
    for (unsigned i = blocks; i > 1; --i) std::swap(order[i - 1], order[s.random.below(i)]);
  return order;
}

bool valid(const Launch& how) {
  const auto refuse = [](const std::string& why) {
    checker::report("invalid launch: " + why);
    return false;
  };
  const auto text = [](dim3 size) {
    return std::to_string(size.x) + " × " + std::to_string(size.y) + " × " + std::to_string(size.z);
  };
  const auto& [grid, block, shared_bytes] = how;
  if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
    return refuse("a grid of " + text(grid) + " blocks");
  if (!block.x || !block.y || !block.z || block.x > 1024 || block.y > 1024 || block.z > 64 || count(block) > 1024)
    return refuse("a block of " + text(block) + " threads");
  if (shared_bytes > kMostShared) return refuse(std::to_string(shared_bytes) + " bytes of shared memory");
  return true;
}

/// Shared memory between two zones, all filled with ones.
unsigned char* make_shared_memory() {
  constexpr size_t size = kZone + kMostShared + kZone;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  std::memset(memory, 0xff, size);
  return static_cast<unsigned char*>(memory) + kZone;
}

}  // namespace

void launch(const Launch& how, const Schedule& schedule, void (*kernel)(void*), void* closure) {
  if (!valid(how)) return;
  State& s = state();
  if (!s.shared) s.shared = make_shared_memory();
  s.random = Random(schedule.seed);
  s.schedule = schedule;
  s.grid = how.grid;
  s.block = how.block;
  s.threads = count(how.block);
  s.kernel = kernel;
  s.closure = closure;
  s.stopped = false;
  checker::begin_launch(reinterpret_cast<uintptr_t>(__builtin_frame_address(0)), s.shared, how.shared_bytes, kZone,
                        kZone + kMostShared - how.shared_bytes);
  for (const unsigned block : block_order(count(how.grid)))
    if (!run_block(block, how.shared_bytes)) break;
  checker::end_launch();
  if (s.thrown) std::rethrow_exception(std::exchange(s.thrown, nullptr));
}

std::vector<std::string> take_reports() {
  return checker::take_reports();
}

unsigned char* internal::allocate(size_t bytes, size_t offset, const std::string& name, bool initialized) {
  offset %= 256;
  const size_t size = (kZone + offset + bytes + kZone + 255) / 256 * 256;
  auto* block = static_cast<unsigned char*>(std::aligned_alloc(256, size));
  if (!block) throw std::bad_alloc();
  std::memset(block, 0xff, size);
  unsigned char* data = block + kZone + offset;
  if (initialized) std::memset(data, 0, bytes);
  checker::add_memory(data, bytes, kZone, name, initialized);
  return data;
}

void internal::release(unsigned char* data) {
  checker::remove_memory(data);
  std::free(data - kZone - reinterpret_cast<uintptr_t>(data) % 256);
}

namespace runtime {

unsigned current_thread() {
  return state().fibers.current();
}

void wait(const char* what, Place place, unsigned mask) {
  Thread& self = current();
  self.place = place;
  self.mask = mask;
  self.waits_for = what;
  state().fibers.sleep();
  self.waits_for = nullptr;
}

void wake(unsigned thread) {
  state().fibers.wake(thread);
}
void yield_if_random() {
  if (state().schedule.order == Order::Random) state().fibers.yield();
}
bool on_a_stack(uintptr_t address) {
  return state().fibers.on_a_stack(address);
}

unsigned lanes_alive(unsigned warp) {
  unsigned alive = 0;
  for (unsigned lane = 0; lane < 32 && warp * 32 + lane < state().threads; ++lane)
    alive |= unsigned{!state().thread[warp * 32 + lane].returned} << lane;
  return alive;
}

void stop() {
  state().stopped = true;
  state().fibers.stop();
}

}  // namespace runtime

namespace device {

uint3 thread_index() {
  return current().index;
}
uint3 block_index() {
  return state().block_index;
}
dim3 block_size() {
  return state().block;
}
dim3 grid_size() {
  return state().grid;
}
unsigned lane() {
  return state().fibers.current() % 32;
}
unsigned char* dynamic_shared() {
  return state().shared;
}

void block_barrier(Place place) {
  const OutsideKernel scope;
  State& s = state();
  Barrier& barrier = s.barrier;
  if (barrier.arrived > 0 && barrier.place != place)
    checker::report("threads of one block wait at different barriers: " + barrier.place.describe() + " and " + place.describe());
  barrier.place = place;
  if (++barrier.arrived < s.alive) return runtime::wait("barrier", place);
  if (s.alive < s.threads) checker::report("a barrier that some threads of the block never reach, at " + place.describe());
  release_barrier();
  runtime::yield_if_random();
}

int block_vote(bool predicate, Vote vote, Place place) {
  const OutsideKernel scope;
  State& s = state();
  s.barrier.count += predicate;
  const int alive = static_cast<int>(s.alive);
  block_barrier(place);
  const int counted = s.barrier.counted;
  return vote == Vote::Count ? counted : vote == Vote::All ? counted == alive : counted > 0;
}

void touch(const void* pointer, size_t size, Access access, Place place, size_t alignment) {
  State& s = state();
  if (!checker::enabled() || s.fibers.on_stack(s.fibers.current(), reinterpret_cast<uintptr_t>(pointer))) return;
  const OutsideKernel scope;
  checker::access(s.fibers.current(), pointer, size, access, place, alignment);
  if (s.schedule.preemption && s.random.below(1024) < s.schedule.preemption) s.fibers.yield();
}

void expect_global(const void* pointer, Place place) {
  if (!checker::enabled()) return;
  const OutsideKernel scope;
  checker::expect_global(state().fibers.current(), pointer, place);
}

void copy_unchecked(void* to, const void* from, size_t size) {
  std::memcpy(to, from, size);
}

void copy_async(void* shared, const void* global, int size, int bytes, Place place) {
  const OutsideKernel scope;
  if (bytes < 0 || bytes > size)
    checker::report("asynchronous copy of " + std::to_string(bytes) + " bytes at " + place.describe());
  const Copy copy{shared, global, static_cast<size_t>(size), static_cast<size_t>(std::clamp(bytes, 0, size)), place};
  if (reinterpret_cast<uintptr_t>(global) % copy.size || reinterpret_cast<uintptr_t>(shared) % copy.size)
    checker::report("misaligned asynchronous copy at " + place.describe());
  if (checker::enabled()) checker::begin_copy(runtime::current_thread(), copy);
  if (!state().schedule.late_copies) perform(copy);
  current().copies.back().push_back(copy);
}

void commit_copies() {
  const OutsideKernel scope;
  current().copies.emplace_back();
}

void wait_for_copies(int pending) {
  const OutsideKernel scope;
  auto& groups = current().copies;
  for (; groups.size() - 1 > static_cast<size_t>(pending); groups.pop_front()) {
    for (const Copy& copy : groups.front()) {
      if (state().schedule.late_copies) perform(copy);
      if (checker::enabled()) checker::end_copy(runtime::current_thread(), copy);
    }
  }
}

void report(const std::string& what, Place place) {
  const OutsideKernel scope;
  checker::report(what + " at " + place.describe());
}

void set_checked(bool checked) {
  checker::set_enabled(checked);
}

}  // namespace device
}  // namespace emulator
