#include "checker.h"

#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "runtime.h"

namespace emulator::checker {

bool in_kernel = false;

namespace {

using device::Access;
using device::Place;

/// Who touched a byte, where and when, in 62 bits. A phase is the time between two barriers of one block; each has a number of
/// its own in the whole program, and 0 stands for nobody.
class Stamp {
 public:
  static constexpr unsigned kMostClocks = (1 << 11) - 1, kMostPlaces = (1 << 16) - 1, kMostPhases = (1 << 24) - 1;

  Stamp() = default;
  Stamp(unsigned thread, unsigned clock, unsigned place, bool atomic, unsigned phase)
      : bits_(thread | uint64_t{clock} << 10 | uint64_t{place} << 21 | uint64_t{atomic} << 37 | uint64_t{phase} << 38) {}

  explicit operator bool() const { return bits_ != 0; }
  bool operator==(const Stamp&) const = default;
  unsigned thread() const { return bits_ & 1023; }
  unsigned warp() const { return thread() / 32; }
  unsigned clock() const { return bits_ >> 10 & kMostClocks; }
  unsigned place() const { return bits_ >> 21 & kMostPlaces; }
  bool atomic() const { return bits_ >> 37 & 1; }
  unsigned phase() const { return static_cast<unsigned>(bits_ >> 38); }

 private:
  uint64_t bits_ = 0;
};

/// What is known of a byte: the last write, and two of the reads since that are not ordered among themselves (or, marked as
/// atomic, an atomic operation that is not ordered with the last). `in_flight`: an asynchronous copy writes it; `copies_from`:
/// how many read it.
struct Cell {
  uint64_t initialized : 1 = 0, in_flight : 1 = 0, copies_from : 32 = 0;
  Stamp write, read, other_read;
  bool operator==(const Cell&) const = default;
};

struct Memory {
  uintptr_t begin, end, zone_before, zone_after;
  std::string name;
  bool shared, initialized;
  std::unique_ptr<Cell[]> cells;
  bool overrun = false;  ///< a write to its zones is in the reports

  bool holds(uintptr_t address, size_t size) const { return address >= begin && address + size <= end; }

  Cell* cell(uintptr_t address) {
    if (!cells) {
      cells = std::make_unique<Cell[]>(end - begin);
      if (initialized) std::for_each(cells.get(), cells.get() + (end - begin), [](Cell& cell) { cell.initialized = 1; });
    }
    return &cells[address - begin];
  }
};

/// The clocks of a warp's lanes since the last block barrier: known[l][k] is how much of lane k's work lane l may rely on.
struct WarpClocks {
  std::array<std::array<uint16_t, 32>, 32> known;
  bool used = false;
};

struct Range {
  uintptr_t begin = 0, end = 0;
  bool holds(uintptr_t address) const { return address - begin < end - begin; }
};

struct State {
  bool enabled = false;
  std::map<uintptr_t, Memory> memories;  // by the end of their zone
  Memory* last = nullptr;
  Memory dynamic_shared{}, static_shared{};
  Range program, host_stack;
  unsigned phase = 0, launch_phase = 1, block_phase = 1;
  std::vector<std::pair<unsigned, unsigned>> blocks;  // first phase, number
  std::array<WarpClocks, 32> clocks;
  std::vector<Place> places{Place()};
  std::unordered_map<uint64_t, unsigned> place_numbers;
  std::array<std::pair<uint64_t, unsigned>, 256> place_cache{};
  std::vector<std::string> reports;
  std::set<std::string> reported;
  std::set<std::tuple<const void*, const void*, unsigned, unsigned>> faults;  // a quick look before the texts are made
};

State& state() {
  static State instance;
  return instance;
}

// ---- stamps

unsigned number_of(Place place) {
  State& s = state();
  auto& cached = s.place_cache[(place.bits() ^ place.bits() >> 8) % s.place_cache.size()];
  if (cached.first == place.bits()) return cached.second;
  const auto [found, added] = s.place_numbers.try_emplace(place.bits(), static_cast<unsigned>(s.places.size()));
  if (added && s.places.size() > Stamp::kMostPlaces)
    found->second = 0;
  else if (added)
    s.places.push_back(place);
  cached = {place.bits(), found->second};
  return found->second;
}

Stamp stamp(unsigned thread, Place place, bool atomic) {
  const WarpClocks& warp = state().clocks[thread / 32];
  const unsigned clock = warp.used ? warp.known[thread % 32][thread % 32] : 1;
  return {thread, clock, number_of(place), atomic, state().phase};
}

/// Whether what `before` stands for has happened before `now` in every interleaving.
bool ordered(Stamp before, Stamp now, bool shared) {
  const State& s = state();
  if (before.phase() < s.launch_phase) return true;
  if (before.phase() < s.block_phase) return shared;
  if (before.thread() == now.thread() || before.phase() != now.phase()) return true;
  if (before.warp() != now.warp()) return false;
  const WarpClocks& warp = s.clocks[now.warp()];
  return warp.used && warp.known[now.thread() % 32][before.thread() % 32] >= before.clock();
}

unsigned block_of(Stamp stamp) {
  const auto& blocks = state().blocks;
  const auto after = std::upper_bound(blocks.begin(), blocks.end(), std::pair{stamp.phase(), ~0u});
  return after == blocks.begin() ? 0 : std::prev(after)->second;
}

// ---- reports

std::string describe(Stamp stamp) {
  return state().places[stamp.place()].describe();
}
std::string who(Stamp stamp) {
  return "thread " + std::to_string(stamp.thread()) + " of block " + std::to_string(block_of(stamp));
}

/// Whether this kind of fault at this place (or pair of places) is new.
bool first_time(const char* kind, const Memory* memory, Stamp one, Stamp other = {}) {
  return state().faults.emplace(kind, memory, one.place(), other.place()).second;
}

void report_race(const Memory& memory, const char* before_kind, Stamp before, const char* now_kind, Stamp now) {
  if (!first_time(now_kind, &memory, before, now)) return;
  report("data race on " + memory.name + ": " + before_kind + " at " + describe(before) + " and " + now_kind + " at " +
             describe(now),
         who(before) + ", " + who(now));
}

void report_fault(const char* kind, const Memory* memory, Stamp now, const std::string& detail = "") {
  if (!first_time(kind, memory, now)) return;
  report(std::string(kind) + (memory ? " " + memory->name : "") + " at " + describe(now),
         who(now) + (detail.empty() ? "" : ", " + detail));
}

void report_out_of_bounds(const Memory& memory, Stamp now, uintptr_t address, size_t size) {
  const bool before = address < memory.begin;
  const auto distance = before ? memory.begin - address : address + size - memory.end;
  report_fault(before ? "access before the beginning of" : "access past the end of", &memory, now,
               std::to_string(size) + " bytes, " + std::to_string(distance) + (before ? " before it" : " past it"));
}

// ---- cells

void note_read(Cell& cell, Stamp now, bool shared) {
  if (ordered(cell.read, now, shared)) {
    cell.read = now;
  } else if (ordered(cell.other_read, now, shared)) {
    cell.other_read = now;
  } else if (cell.read.phase() == cell.other_read.phase() &&
             (now.phase() != cell.read.phase() || cell.read.warp() == cell.other_read.warp())) {
    cell.other_read = now;  // of another block (unordered reads of one block are of one phase) or, maybe, another warp
  }
}

const char* name(bool wrote, bool atomic) {
  return atomic ? "atomic" : wrote ? "write" : "read";
}

void check(Cell& cell, const Memory& memory, Stamp now, Access access) {
  if (memory.shared && cell.write && cell.write.phase() < state().block_phase) cell = Cell{};  // another block left it
  if (cell.in_flight) report_fault("access before an asynchronous copy has arrived to", &memory, now);
  if (access != Access::Write && !cell.initialized) report_fault("read of uninitialized bytes of", &memory, now);
  const bool writes = access != Access::Read;
  if (writes && cell.copies_from) report_fault("write before an asynchronous copy has read", &memory, now);
  for (const Stamp* before : {&cell.write, &cell.read, &cell.other_read}) {
    const bool wrote = before == &cell.write || before->atomic();
    if ((!wrote && !writes) || (before->atomic() && now.atomic()) || ordered(*before, now, memory.shared)) continue;
    report_race(memory, name(wrote, before->atomic()), *before, name(writes, now.atomic()), now);
  }
  if (!writes) return note_read(cell, now, memory.shared);
  // Of several atomic operations, the last two are kept.
  const bool keep = now.atomic() && cell.write.atomic() && !ordered(cell.write, now, memory.shared);
  cell.read = keep ? cell.write : Stamp();
  cell.other_read = Stamp();
  cell.write = now;
  cell.initialized = 1;
}

/// Neighboring bytes are mostly alike: what was found for one is copied to the next.
template <class Change>
void for_cells(Cell* cells, size_t size, const Change& change) {
  Cell before = cells[0];
  change(cells[0]);
  for (size_t i = 1; i < size; ++i) {
    if (cells[i] == before) {
      cells[i] = cells[i - 1];
    } else {
      before = cells[i];
      change(cells[i]);
    }
  }
}

/// The memory that `address` lies in, or in whose zones; or null.
Memory* find(uintptr_t address) {
  State& s = state();
  const auto holds = [address](const Memory& memory) {
    return address - (memory.begin - memory.zone_before) < memory.end + memory.zone_after - (memory.begin - memory.zone_before);
  };
  if (holds(s.dynamic_shared)) return &s.dynamic_shared;
  if (s.last && holds(*s.last)) return s.last;
  if (holds(s.static_shared)) return &s.static_shared;
  const auto found = s.memories.upper_bound(address);
  if (found == s.memories.end() || !holds(found->second)) return nullptr;
  return s.last = &found->second;
}

/// Changes the cells of an access, if it lies in one memory.
template <class Change>
void for_cells_at(const void* pointer, size_t size, const Change& change) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Memory* memory = size > 0 ? find(address) : nullptr;
  if (memory && memory->holds(address, size)) for_cells(memory->cell(address), size, change);
}

/// The program's own memory, where constants are, and its thread-local part, where the shim puts static shared memory.
void find_program() {
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void*) {
        State& s = state();
        s.program = {~uintptr_t{0}, 0};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          const auto begin = info->dlpi_addr + header.p_vaddr;
          if (header.p_type == PT_LOAD)
            s.program = {std::min<uintptr_t>(s.program.begin, begin), std::max<uintptr_t>(s.program.end, begin + header.p_memsz)};
          if (header.p_type == PT_TLS && info->dlpi_tls_data) {
            const auto data = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
            s.static_shared = {data, data + header.p_memsz, 0, 0, "static shared memory", true, false, nullptr};
          }
        }
        return 1;  // the first is the program
      },
      nullptr);
}

void forget_stamps() {
  State& s = state();
  const auto forget = [](Memory& memory) {
    if (!memory.cells) return;
    std::for_each(memory.cells.get(), memory.cells.get() + (memory.end - memory.begin), [](Cell& cell) {
      const auto initialized = cell.initialized;
      cell = Cell{};
      cell.initialized = initialized;
    });
  };
  for (auto& [end, memory] : s.memories) forget(memory);
  s.static_shared.cells.reset();
  s.phase = 0;
}

/// Whether nothing was written where only ones should be; repairs it.
bool zone_intact(uintptr_t begin, uintptr_t end) {
  auto* bytes = reinterpret_cast<unsigned char*>(begin);
  const bool intact = std::all_of(bytes, bytes + (end - begin), [](unsigned char byte) { return byte == 0xff; });
  std::fill(bytes, bytes + (end - begin), 0xff);
  return intact;
}

}  // namespace

void set_enabled(bool enabled) {
  state().enabled = enabled;
}
bool enabled() {
  return state().enabled;
}

void begin_launch(uintptr_t host_stack, unsigned char* shared, size_t shared_bytes, size_t zone_before, size_t zone_after) {
  State& s = state();
  if (!s.program.end) find_program();
  if (s.phase > Stamp::kMostPhases / 2) forget_stamps();
  s.host_stack = {host_stack, host_stack + (1 << 20)};
  s.launch_phase = s.phase + 1;
  s.blocks.clear();
  const auto begin = reinterpret_cast<uintptr_t>(shared);
  s.dynamic_shared = {begin, begin + shared_bytes, zone_before, zone_after, "dynamic shared memory", true, false, nullptr};
}

/// Of writes that no hook saw, only those beyond the ends are noticed, by their traces.
void end_launch() {
  State& s = state();
  const auto check_zones = [&s](Memory& memory) {
    const bool before = zone_intact(memory.begin - memory.zone_before, memory.begin);
    const bool after = zone_intact(memory.end, memory.end + memory.zone_after);
    const bool known = std::exchange(memory.overrun, false);
    if (!before && !known) report("write before the beginning of " + memory.name);
    if (!after && !known) report("write past the end of " + memory.name);
    if (s.enabled) return;
    memory.initialized = true;
    memory.cells.reset();
  };
  check_zones(s.dynamic_shared);
  for (auto& [end, memory] : s.memories) check_zones(memory);
}

void begin_block(unsigned block) {
  block_barrier();
  state().block_phase = state().phase;
  state().blocks.emplace_back(state().phase, block);
}

void block_barrier() {
  ++state().phase;
  for (auto& warp : state().clocks) warp.used = false;
}

void warp_barrier(unsigned number, unsigned mask) {
  WarpClocks& warp = state().clocks[number];
  if (!warp.used) {
    for (size_t lane = 0; lane < 32; ++lane) {
      warp.known[lane].fill(0);
      warp.known[lane][lane] = 1;
    }
    warp.used = true;
  }
  std::array<uint16_t, 32> all{};
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t k = 0; k < 32 && mask >> lane & 1; ++k) all[k] = std::max(all[k], warp.known[lane][k]);
  for (size_t lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    warp.known[lane] = all;
    if (all[lane] < Stamp::kMostClocks) ++warp.known[lane][lane];
  }
}

void access(unsigned thread, const void* pointer, size_t size, Access access, Place place, size_t alignment) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  if (size == 0) return;
  const Stamp now = stamp(thread, place, access == Access::Atomic);
  if (address % alignment != 0) {
    report_fault("misaligned access", nullptr, now, std::to_string(size) + " bytes");
    runtime::stop();
  }
  if (Memory* memory = find(address)) {
    if (!memory->holds(address, size)) {
      memory->overrun |= access != Access::Read;
      return report_out_of_bounds(*memory, now, address, size);
    }
    return for_cells(memory->cell(address), size, [&](Cell& cell) { check(cell, *memory, now, access); });
  }
  const State& s = state();
  if (access == Access::Read && (s.program.holds(address) || s.host_stack.holds(address))) return;
  report_fault(runtime::on_a_stack(address) ? "access to another thread's stack" : "access to memory that no buffer owns",
               nullptr, now);
  runtime::stop();
}

bool is_shared(const void* pointer) {
  const Memory* memory = find(reinterpret_cast<uintptr_t>(pointer));
  return memory && memory->shared;
}

void expect_global(unsigned thread, const void* pointer, Place place) {
  const bool local = runtime::on_a_stack(reinterpret_cast<uintptr_t>(pointer));
  if (!local && !is_shared(pointer)) return;
  report_fault(local ? "global access to local memory" : "global access to shared memory", nullptr, stamp(thread, place, false));
  runtime::stop();
}

void begin_copy(unsigned thread, const Copy& copy) {
  if (!is_shared(copy.shared)) {
    report_fault("asynchronous copy to memory that is not shared", nullptr, stamp(thread, copy.place, false));
    runtime::stop();
  }
  if (copy.bytes > 0) expect_global(thread, copy.global, copy.place);
  access(thread, copy.global, copy.bytes, Access::Read, copy.place, 1);
  access(thread, copy.shared, copy.size, Access::Write, copy.place, 1);
  for_cells_at(copy.shared, copy.size, [](Cell& cell) { cell.in_flight = 1; });
  for_cells_at(copy.global, copy.bytes, [](Cell& cell) { ++cell.copies_from; });
}

void end_copy(unsigned thread, const Copy& copy) {
  const Stamp now = stamp(thread, copy.place, false);
  for_cells_at(copy.shared, copy.size, [now](Cell& cell) {
    cell.in_flight = 0;
    cell.write = now;
  });
  for_cells_at(copy.global, copy.bytes, [now](Cell& cell) {
    --cell.copies_from;
    note_read(cell, now, false);
  });
}

void add_memory(unsigned char* data, size_t size, size_t zone, const std::string& name, bool initialized) {
  const auto begin = reinterpret_cast<uintptr_t>(data);
  state().memories.insert_or_assign(begin + size + zone,
                                    Memory{begin, begin + size, zone, zone, "`" + name + "`", false, initialized, nullptr});
}

void remove_memory(unsigned char* data) {
  State& s = state();
  s.last = nullptr;
  const auto found = s.memories.upper_bound(reinterpret_cast<uintptr_t>(data));
  if (found != s.memories.end()) s.memories.erase(found);
}

void report(const std::string& what, const std::string& detail) {
  State& s = state();
  if (s.reported.insert(what).second) s.reports.push_back(detail.empty() ? what : what + " (" + detail + ")");
}

std::vector<std::string> take_reports() {
  State& s = state();
  s.reported.clear();
  s.faults.clear();
  return std::exchange(s.reports, {});
}

}  // namespace emulator::checker
