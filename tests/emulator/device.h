#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

#include <vector_types.h>

/// What device code runs on: the functions behind the shim headers, the compiler's hooks and the PTX interpreter. They may be
/// called only while a kernel runs (in a launch's closure), except where said otherwise.
namespace emulator::device {

/// A place in a kernel: a line of source, a return address (looked up in the debug information when it is printed) or a PTX
/// instruction. As large as a pointer.
class Place {
 public:
  Place() = default;
  Place(std::source_location source) : Place(std::bit_cast<const void*>(source), Kind::Source) {}
  static Place address(const void* return_address) { return {return_address, Kind::Address}; }
  /// `instruction` must outlive the launch.
  static Place text(const char* instruction) { return {instruction, Kind::Text}; }

  /// As `file.cuh:12`, or `tile.cuh:12 (from gemm.cuh:80)` in an inlined function, or the instruction. At any time.
  std::string describe() const;
  uint64_t bits() const { return bits_; }
  bool operator==(const Place&) const = default;

 private:
  enum class Kind : uint64_t { None, Source, Address, Text };
  static constexpr int kPointerBits = 62;
  static_assert(sizeof(std::source_location) == sizeof(void*));
  Place(const void* pointer, Kind kind)
      : bits_(reinterpret_cast<uintptr_t>(pointer) | static_cast<uint64_t>(kind) << kPointerBits) {}

  uint64_t bits_ = 0;
};

// Constant for a thread, so the compiler may keep them over barriers.
[[gnu::const]] uint3 thread_index();
[[gnu::const]] uint3 block_index();
[[gnu::const]] dim3 block_size();
[[gnu::const]] dim3 grid_size();
[[gnu::const]] unsigned lane();
/// The block's dynamic shared memory: the launch's `shared_bytes`, aligned to 4096 bytes.
[[gnu::const]] unsigned char* dynamic_shared();

// Barriers and warp collectives. `mask` names the lanes that take part: all of them must call the same function with the same
// mask; load_tiles and multiply take the whole warp, at one place. Only the two barriers order memory.
void block_barrier(Place place);
enum class Vote { Count, All, Any };
int block_vote(bool predicate, Vote vote, Place place);
void warp_barrier(unsigned mask, Place place);

enum class Shuffle { Index, Up, Down, Xor };
/// `value` of another lane: of lane `operand` (Index), lane - operand, lane + operand or lane ^ operand, in segments of `width`
/// (a power of two) lanes. `in_range` tells whether that lane is in the segment; if not, the result is the caller's own value.
uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int operand, int width, Place place, bool* in_range = nullptr);
/// The lanes of `mask` with a true predicate.
unsigned ballot(unsigned mask, bool predicate, Place place);
enum class Reduction { Add, Min, Max, MinSigned, MaxSigned, And, Or, Xor };
uint32_t reduce(Reduction kind, unsigned mask, uint32_t value, Place place);
/// The lanes of this warp that have not returned.
unsigned active_mask();

/// ldmatrix.m8n8.x4.b16, without or with .trans. Lane l's `row` is the address of row l % 8 of tile l / 8; lane l receives of
/// each tile the elements (l / 4, 2 (l % 4)) and the next, or transposed (2 (l % 4), l / 4) and the one below.
void load_tiles(uint32_t (&tiles)[4], const void* row, bool transposed, Place place);

/// mma.sync.m16n8k16 of float16 or bfloat16 and m16n8k8 of TF32: c += a b in fp32, on the registers that the PTX ISA's fragment
/// tables give to each lane. TF32 operands are read with 10 bits of mantissa.
enum class Operand { Half, BFloat16, Tf32 };
void multiply(Operand type, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place);

// Memory. Accesses are checked only in checked programs.
enum class Access : uint8_t { Read, Write, Atomic };
/// Tells the checker of an access by this thread, before it happens; with the schedule's chance of preemption another thread goes
/// on first. `alignment` is what the instruction demands. A thread's own stack is of no concern.
void touch(const void* pointer, size_t size, Access access, Place place, size_t alignment = 1);
/// Tells the checker that an access to come is one of global memory alone.
void expect_global(const void* pointer, Place place);
/// Copies bytes without a check of the compiler's hooks (which see what is inlined into a kernel).
void copy_unchecked(void* to, const void* from, size_t size);

/// cp.async of `size` (4, 8 or 16) bytes, the first `bytes` of them from `global`, the others zero. It may read and write them at
/// any time until this thread has waited for it.
void copy_async(void* shared, const void* global, int size, int bytes, Place place);
void commit_copies();
/// Until at most `pending` of this thread's groups are unfinished.
void wait_for_copies(int pending);

/// Adds a line to the reports, at any time. A line that is there already is not repeated.
void report(const std::string& what, Place place);
/// Whether memory accesses are checked from the next launch on. A program linked with the compiler's hooks starts with true.
void set_checked(bool checked);

}  // namespace emulator::device
