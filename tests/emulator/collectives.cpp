#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "checker.h"
#include "device.h"
#include "runtime.h"

/// Functions of a whole warp, as meetings: each lane leaves its operands, the last to come works for all.
namespace emulator {
namespace {

using checker::OutsideKernel;
using device::Access;
using device::Place;

struct Operands {
  uint64_t value = 0;
  int operand = 0, width = 32;
  const void* row = nullptr;                  // ldmatrix
  const uint32_t *a = nullptr, *b = nullptr;  // mma
  float* c = nullptr;
  uint32_t* tiles = nullptr;
  uint64_t result = 0;
  bool in_range = true;
};

struct Meeting;
struct Collective {
  const char* name;
  void (*execute)(Meeting&);
  bool aligned = false;  ///< all lanes must execute the same instruction
};

struct Meeting {
  unsigned mask = 0, arrived = 0, warp = 0;
  const Collective* collective = nullptr;
  Place place;
  std::array<Operands*, 32> lanes;

  template <class Work>
  void each(const Work& work) {
    for (unsigned lane = 0; lane < 32; ++lane)
      if (mask >> lane & 1) work(lane, *lanes[lane]);
  }
};

std::array<std::vector<Meeting>, 32>& open_meetings() {
  static std::array<std::vector<Meeting>, 32> meetings;
  return meetings;
}

Meeting& join(const Collective& collective, unsigned mask, unsigned thread, Place place) {
  auto& open = open_meetings()[thread / 32];
  for (auto& meeting : open) {
    if (meeting.mask != mask || meeting.arrived >> thread % 32 & 1) continue;
    if (meeting.collective == &collective) {
      if (collective.aligned && meeting.place != place)
        checker::report(std::string("lanes of one warp meet in different instructions: ") + collective.name + " at " +
                        meeting.place.describe() + " and at " + place.describe());
      return meeting;
    }
    checker::report(std::string("lanes of one warp meet in different functions: ") + meeting.collective->name + " at " +
                    meeting.place.describe() + " and " + collective.name + " at " + place.describe());
  }
  auto& meeting = open.emplace_back();
  meeting.mask = mask;
  meeting.warp = thread / 32;
  meeting.collective = &collective;
  return meeting;
}

void meet(const Collective& collective, unsigned mask, Operands& operands, Place place) {
  const OutsideKernel scope;
  const unsigned thread = runtime::current_thread(), lane = thread % 32;
  if (!(mask >> lane & 1)) {
    checker::report(std::string(collective.name) + " by a lane outside its mask at " + place.describe());
    mask = 1u << lane;
  }
  Meeting& meeting = join(collective, mask, thread, place);
  meeting.place = place;
  meeting.lanes[lane] = &operands;
  meeting.arrived |= 1u << lane;
  if (meeting.arrived != mask) return runtime::wait(collective.name, place, mask);
  Meeting complete = meeting;
  auto& open = open_meetings()[thread / 32];
  meeting = open.back();
  open.pop_back();
  collective.execute(complete);
  complete.each([&](unsigned other, Operands&) {
    if (other != lane) runtime::wake(thread - lane + other);
  });
  runtime::yield_if_random();
}

constexpr Collective kBarrier{"__syncwarp", [](Meeting& meeting) { checker::warp_barrier(meeting.warp, meeting.mask); }};

// ---- shuffles and votes

/// The lane that `lane` reads from, or -1 when it lies outside of its segment.
int source_lane(device::Shuffle kind, int lane, int operand, int width) {
  const int base = lane & ~(width - 1), position = lane & (width - 1);
  switch (kind) {
    case device::Shuffle::Index:
      return base + (operand & (width - 1));
    case device::Shuffle::Up:
      return position - operand < 0 ? -1 : lane - operand;
    case device::Shuffle::Down:
      return position + operand >= width ? -1 : lane + operand;
    case device::Shuffle::Xor:
      return (lane ^ operand) >= base + width ? -1 : lane ^ operand;
  }
  return -1;
}

template <device::Shuffle kKind>
void execute_shuffle(Meeting& meeting) {
  meeting.each([&](unsigned lane, Operands& operands) {
    int source = source_lane(kKind, static_cast<int>(lane), operands.operand, operands.width);
    operands.in_range = source >= 0;
    if (source < 0) source = static_cast<int>(lane);
    if (!(meeting.mask >> source & 1)) {
      checker::report("a shuffle from a lane outside its mask at " + meeting.place.describe());
      operands.result = ~uint64_t{0};
    } else {
      operands.result = meeting.lanes[static_cast<size_t>(source)]->value;
    }
  });
}

constexpr std::array<Collective, 4> kShuffles{{{"__shfl_sync", execute_shuffle<device::Shuffle::Index>},
                                               {"__shfl_up_sync", execute_shuffle<device::Shuffle::Up>},
                                               {"__shfl_down_sync", execute_shuffle<device::Shuffle::Down>},
                                               {"__shfl_xor_sync", execute_shuffle<device::Shuffle::Xor>}}};

constexpr Collective kBallot{
    "warp vote", [](Meeting& meeting) {
      unsigned votes = 0;
      meeting.each([&](unsigned lane, Operands& operands) { votes |= (operands.value ? 1u : 0u) << lane; });
      meeting.each([&](unsigned, Operands& operands) { operands.result = votes; });
    }};

uint32_t reduced(device::Reduction kind, uint32_t a, uint32_t b) {
  const auto signed_a = static_cast<int32_t>(a), signed_b = static_cast<int32_t>(b);
  switch (kind) {
    case device::Reduction::Add:
      return a + b;
    case device::Reduction::Min:
      return std::min(a, b);
    case device::Reduction::Max:
      return std::max(a, b);
    case device::Reduction::MinSigned:
      return static_cast<uint32_t>(std::min(signed_a, signed_b));
    case device::Reduction::MaxSigned:
      return static_cast<uint32_t>(std::max(signed_a, signed_b));
    case device::Reduction::And:
      return a & b;
    case device::Reduction::Or:
      return a | b;
    case device::Reduction::Xor:
      return a ^ b;
  }
  return 0;
}

template <device::Reduction kKind>
void execute_reduction(Meeting& meeting) {
  uint32_t result = 0;
  bool first = true;
  meeting.each([&](unsigned, Operands& operands) {
    const auto value = static_cast<uint32_t>(operands.value);
    result = std::exchange(first, false) ? value : reduced(kKind, result, value);
  });
  meeting.each([&](unsigned, Operands& operands) { operands.result = result; });
}

using device::Reduction;
constexpr std::array<Collective, 8> kReductions{{{"__reduce_add_sync", execute_reduction<Reduction::Add>},
                                                 {"__reduce_min_sync", execute_reduction<Reduction::Min>},
                                                 {"__reduce_max_sync", execute_reduction<Reduction::Max>},
                                                 {"__reduce_min_sync", execute_reduction<Reduction::MinSigned>},
                                                 {"__reduce_max_sync", execute_reduction<Reduction::MaxSigned>},
                                                 {"__reduce_and_sync", execute_reduction<Reduction::And>},
                                                 {"__reduce_or_sync", execute_reduction<Reduction::Or>},
                                                 {"__reduce_xor_sync", execute_reduction<Reduction::Xor>}}};

// ---- tensor-core tiles: the fragment tables of the PTX ISA, chapter "Warp Level Matrix Instructions"

/// Reads `count` 16-bit elements of a row for `lane`, as far as the row is where it should be.
uint32_t read_tile_elements(const Meeting& meeting, unsigned lane, const void* row, int column, size_t count) {
  const auto* from = static_cast<const uint16_t*>(row) + column;
  if (checker::enabled()) checker::access(meeting.warp * 32 + lane, from, count * sizeof *from, Access::Read, meeting.place, 1);
  uint32_t elements = 0;
  std::memcpy(&elements, from, count * sizeof *from);
  return elements;
}

template <bool kTransposed>
void execute_load_tiles(Meeting& meeting) {
  meeting.each([&](unsigned, Operands& operands) {
    if (reinterpret_cast<uintptr_t>(operands.row) % 16)
      checker::report("misaligned row of ldmatrix at " + meeting.place.describe());
    if (checker::enabled() && !checker::is_shared(operands.row))
      checker::report("ldmatrix from memory that is not shared at " + meeting.place.describe());
  });
  meeting.each([&](unsigned lane, Operands& operands) {
    const unsigned wide = lane % 4 * 2, narrow = lane / 4;
    for (unsigned tile = 0; tile < 4; ++tile) {
      const auto row = [&](unsigned i) { return meeting.lanes[tile * 8 + i]->row; };
      operands.tiles[tile] = kTransposed ? read_tile_elements(meeting, lane, row(wide), static_cast<int>(narrow), 1) |
                                               read_tile_elements(meeting, lane, row(wide + 1), static_cast<int>(narrow), 1) << 16
                                         : read_tile_elements(meeting, lane, row(narrow), static_cast<int>(wide), 2);
    }
  });
}

constexpr Collective kLoadTiles{"ldmatrix", execute_load_tiles<false>, true};
constexpr Collective kLoadTilesTransposed{"ldmatrix.trans", execute_load_tiles<true>, true};

float from_bfloat16(uint32_t bits) {
  return std::bit_cast<float>(bits << 16);
}

/// Moves exponent and mantissa to their places in a float and scales by the difference of the exponents' biases, which makes
/// subnormal numbers right too.
float from_half(uint32_t bits) {
  const float scaled = std::bit_cast<float>((bits & 0x7fff) << 13) * 0x1p112f;
  const uint32_t not_finite = (bits & 0x7c00) == 0x7c00 ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(scaled) | not_finite | (bits & 0x8000) << 16);
}

float from_tf32(uint32_t bits) {
  return std::bit_cast<float>(bits & 0xffffe000u);
}

template <float (*kConvert)(uint32_t)>
float element(uint32_t bits, unsigned index) {
  return kConvert(bits >> 16 * index & 0xffff);
}

/// Puts lane `lane`'s registers in their places of a [16, kDepth] and b [kDepth, 8].
template <float (*kConvert)(uint32_t), size_t kDepth>
void place_operands(float (&a)[16][kDepth], float (&b)[kDepth][8], unsigned lane, const Operands& operands) {
  const unsigned g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    if constexpr (kDepth == 16) {
      for (unsigned e = 0; e < 2; ++e) a[g + i % 2 * 8][2 * t + i / 2 * 8 + e] = element<kConvert>(operands.a[i], e);
    } else {
      a[g + i % 2 * 8][t + i / 2 * 4] = kConvert(operands.a[i]);
    }
  }
  for (unsigned i = 0; i < 2; ++i) {
    if constexpr (kDepth == 16) {
      for (unsigned e = 0; e < 2; ++e) b[2 * t + i * 8 + e][g] = element<kConvert>(operands.b[i], e);
    } else {
      b[t + i * 4][g] = kConvert(operands.b[i]);
    }
  }
}

template <float (*kConvert)(uint32_t), size_t kDepth>
void execute_multiply(Meeting& meeting) {
  float a[16][kDepth], b[kDepth][8], c[16][8];
  const auto sum = [&c](unsigned lane, unsigned i) -> float& { return c[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]; };
  meeting.each([&](unsigned lane, Operands& operands) {
    place_operands<kConvert, kDepth>(a, b, lane, operands);
    for (unsigned i = 0; i < 4; ++i) sum(lane, i) = operands.c[i];
  });
  for (size_t row = 0; row < 16; ++row)
    for (size_t k = 0; k < kDepth; ++k)
      for (size_t column = 0; column < 8; ++column) c[row][column] += a[row][k] * b[k][column];
  meeting.each([&](unsigned lane, Operands& operands) {
    for (unsigned i = 0; i < 4; ++i) operands.c[i] = sum(lane, i);
  });
}

constexpr std::array<Collective, 3> kMultiplications{{{"mma.m16n8k16.f16", execute_multiply<from_half, 16>, true},
                                                      {"mma.m16n8k16.bf16", execute_multiply<from_bfloat16, 16>, true},
                                                      {"mma.m16n8k8.tf32", execute_multiply<from_tf32, 8>, true}}};

constexpr unsigned kWholeWarp = 0xffffffffu;

}  // namespace

void runtime::reset_collectives(unsigned warps) {
  for (unsigned warp = 0; warp < warps; ++warp) open_meetings()[warp].clear();
}

namespace device {

void warp_barrier(unsigned mask, Place place) {
  Operands none;
  meet(kBarrier, mask, none, place);
}

uint64_t shuffle(Shuffle kind, unsigned mask, uint64_t value, int operand, int width, Place place, bool* in_range) {
  Operands operands{.value = value, .operand = operand, .width = width};
  meet(kShuffles[static_cast<size_t>(kind)], mask, operands, place);
  if (in_range) *in_range = operands.in_range;
  return operands.result;
}

unsigned ballot(unsigned mask, bool predicate, Place place) {
  Operands operands{.value = predicate};
  meet(kBallot, mask, operands, place);
  return static_cast<unsigned>(operands.result);
}

uint32_t reduce(Reduction kind, unsigned mask, uint32_t value, Place place) {
  Operands operands{.value = value};
  meet(kReductions[static_cast<size_t>(kind)], mask, operands, place);
  return static_cast<uint32_t>(operands.result);
}

unsigned active_mask() {
  return runtime::lanes_alive(runtime::current_thread() / 32);
}

void load_tiles(uint32_t (&tiles)[4], const void* row, bool transposed, Place place) {
  Operands operands{.row = row, .tiles = tiles};
  meet(transposed ? kLoadTilesTransposed : kLoadTiles, kWholeWarp, operands, place);
}

void multiply(Operand type, float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place) {
  Operands operands{.a = a, .b = b, .c = c};
  meet(kMultiplications[static_cast<size_t>(type)], kWholeWarp, operands, place);
}

}  // namespace device
}  // namespace emulator
