#include "fibers.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <new>
#include <numeric>

#if !defined(__x86_64__)
#error "the emulator switches stacks with x86-64 instructions"
#endif

/// Pushes what the System V calling convention preserves, stores the stack pointer in *save and goes on from `load`.
extern "C" void emulator_switch_stack(void** save, void* load);
asm(R"(.text
.type emulator_switch_stack, @function
emulator_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulator_switch_stack, .-emulator_switch_stack
)");

namespace emulator {
namespace {

Fibers* running = nullptr;

}  // namespace

uint64_t Random::operator()() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void Fibers::run(unsigned count, Order order, Random& random, void (*entry)()) {
  running = this;
  entry_ = entry;
  order_ = order;
  random_ = &random;
  ready_count_ = 0;
  ready_.fill(0);
  draw_order(count, order, random);
  for (unsigned thread = 0; thread < count; ++thread) {
    prepare(thread);
    wake(thread);
  }
  switch_from(&host_, next(order == Order::Random));
}

void Fibers::enter() {
  running->entry_();
  void* never_resumed;
  if (running->ready_count_ == 0) running->stop();
  running->switch_from(&never_resumed, running->next(running->order_ == Order::Random));
  std::abort();
}

void Fibers::prepare(unsigned thread) {
  if (!stacks_) {
    void* memory = mmap(nullptr, kMost * kStride, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stacks_ = static_cast<unsigned char*>(memory);
  }
  for (; stacks_made_ <= thread; ++stacks_made_) {
    if (mprotect(reinterpret_cast<void*>(stack(stacks_made_)), kStackBytes, PROT_READ | PROT_WRITE)) throw std::bad_alloc();
  }
  // Stacks that all begin at the same offset of a page would share the same few cache lines.
  auto** top = reinterpret_cast<void**>(stack(thread) + kStackBytes - thread % 64 * 64);
  *--top = nullptr;  // the stack is 8 bytes off a multiple of 16 where a function begins
  *--top = reinterpret_cast<void*>(&Fibers::enter);
  for (int saved_register = 0; saved_register < 6; ++saved_register) *--top = nullptr;
  saved_[thread] = top;
}

void Fibers::draw_order(unsigned count, Order order, Random& random) {
  std::iota(thread_at_.begin(), thread_at_.begin() + count, 0);
  const auto shuffle = [&](unsigned begin, unsigned size, unsigned unit) {
    for (unsigned i = size - 1; i > 0; --i) {
      const unsigned j = random.below(i + 1);
      std::swap_ranges(&thread_at_[begin + i * unit], &thread_at_[begin + i * unit] + (i == j ? 0 : unit),
                       &thread_at_[begin + j * unit]);
    }
  };
  if (order == Order::Reverse) std::reverse(thread_at_.begin(), thread_at_.begin() + count);
  if (order == Order::Priority) {
    if (count >= 32) shuffle(0, count / 32, 32);
    for (unsigned begin = 0; begin < count; begin += 32) shuffle(begin, std::min(32u, count - begin), 1);
  }
  for (unsigned position = 0; position < count; ++position) position_of_[thread_at_[position]] = static_cast<uint16_t>(position);
}

void Fibers::wake(unsigned thread) {
  ready_[position_of_[thread] / 64] |= uint64_t{1} << position_of_[thread] % 64;
  ++ready_count_;
}

/// Takes the first thread by position, or one drawn at random, from those that are ready.
unsigned Fibers::next(bool drawn) {
  unsigned skip = drawn ? random_->below(ready_count_) : 0, word = 0;
  for (unsigned here; skip >= (here = static_cast<unsigned>(std::popcount(ready_[word]))); ++word) skip -= here;
  uint64_t bits = ready_[word];
  for (; skip > 0; --skip) bits &= bits - 1;
  const auto bit = std::countr_zero(bits);
  ready_[word] &= ~(uint64_t{1} << bit);
  --ready_count_;
  return thread_at_[word * 64 + static_cast<unsigned>(bit)];
}

void Fibers::switch_from(void** save, unsigned thread) {
  current_ = thread;
  emulator_switch_stack(save, saved_[thread]);
}

void Fibers::sleep() {
  if (ready_count_ == 0) stop();
  const unsigned self = current_, other = next(order_ == Order::Random);
  if (other != self) switch_from(&saved_[self], other);
}

void Fibers::yield() {
  wake(current_);
  const unsigned self = current_, other = next(true);
  if (other != self) switch_from(&saved_[self], other);
}

void Fibers::stop() {
  void* never_resumed;
  emulator_switch_stack(&never_resumed, host_);
  std::abort();
}

}  // namespace emulator
