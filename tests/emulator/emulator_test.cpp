#include "tests/emulator/emulator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>
#include <stdexcept>

#include "cuda/ptx.cuh"

namespace {

using emulator::Buffer;
using emulator::Launch;
using emulator::Order;
using emulator::Schedule;
namespace ptx = respeft::cuda::ptx;

constexpr Order kOrders[] = {Order::Forward, Order::Reverse, Order::Random, Order::Priority};
constexpr unsigned kWarp = 0xffffffffu;

/// The reports of one launch under each order.
template <class Kernel>
std::vector<std::string> reports(const Launch& how, const Kernel& kernel) {
  std::vector<std::string> all;
  for (const auto order : kOrders) {
    emulator::launch(how, {.order = order}, kernel);
    for (auto& report : emulator::take_reports()) all.push_back(std::move(report));
  }
  return all;
}

/// `emulator_test.cpp:` and the number of this file's line that ends in the comment "// @name".
std::string at(const std::string& name) {
  std::ifstream file(__FILE__);
  int number = 1;
  for (std::string line; std::getline(file, line); ++number)
    if (line.ends_with("// @" + name)) return "emulator_test.cpp:" + std::to_string(number);
  return "no line is called " + name;
}

testing::AssertionResult reported(const std::vector<std::string>& reports, const std::vector<std::string>& parts) {
  for (const auto& report : reports)
    if (std::all_of(parts.begin(), parts.end(), [&](const auto& part) { return report.find(part) != std::string::npos; }))
      return testing::AssertionSuccess();
  auto failure = testing::AssertionFailure() << "missing:";
  for (const auto& part : parts) failure << " [" << part << "]";
  for (const auto& report : reports) failure << "\n  reported: " << report;
  return failure;
}

/// kernel(true) must be reported in a line with all `parts`, kernel(false) must not be reported.
template <class Kernel>
void expect_fault(const Launch& how, const Kernel& kernel, const std::vector<std::string>& parts) {
  EXPECT_TRUE(reported(reports(how, [&] { kernel(std::true_type{}); }), parts));
  EXPECT_EQ(reports(how, [&] { kernel(std::false_type{}); }), std::vector<std::string>{});
}

/// Runs `kernel` under every order and expects no report.
template <class Kernel>
void run(const Launch& how, const Kernel& kernel) {
  EXPECT_EQ(reports(how, kernel), std::vector<std::string>{});
}

constexpr Launch warps(unsigned count, size_t shared_bytes = 0) {
  return {dim3(1), dim3(32 * count), shared_bytes};
}

// ---- what kernels see

TEST(Runtime, ThreadsAndBlocksHaveThreeDimensions) {
  Buffer<int> seen(2 * 3 * 2 * 4 * 3 * 2, "seen");
  run({dim3(2, 3, 2), dim3(4, 3, 2)}, [&] {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    ++seen.data()[block * 24 + thread];
  });
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], 4) << i;
}

TEST(Runtime, ShufflesFollowThePtxIsa) {
  for (const int width : {2, 8, 32}) {
    for (const int operand : {0, 1, 3, 31}) {
      Buffer<int> got(4 * 32, "got");
      run(warps(1), [&, data = got.data()] {
        const int lane = threadIdx.x;
        data[lane] = __shfl_sync(kWarp, lane, operand, width);
        data[32 + lane] = __shfl_up_sync(kWarp, lane, operand, width);
        data[64 + lane] = __shfl_down_sync(kWarp, lane, operand, width);
        data[96 + lane] = __shfl_xor_sync(kWarp, lane, operand, width);
      });
      for (int lane = 0; lane < 32; ++lane) {
        const int first = lane / width * width, last = first + width - 1, other = lane ^ operand;
        EXPECT_EQ(got[lane], first + operand % width);
        EXPECT_EQ(got[32 + lane], lane - operand < first ? lane : lane - operand);
        EXPECT_EQ(got[64 + lane], lane + operand > last ? lane : lane + operand);
        EXPECT_EQ(got[96 + lane], other > last ? lane : other);
      }
    }
  }
}

TEST(Runtime, ShufflesCarryEveryTypeOfUpTo8Bytes) {
  Buffer<double> doubles(32, "doubles");
  Buffer<__half> halves(32, "halves");
  run(warps(1), [&, d = doubles.data(), h = halves.data()] {
    const int lane = threadIdx.x;
    d[lane] = __shfl_xor_sync(kWarp, lane + 0.1, 1);
    h[lane] = __shfl_down_sync(kWarp, __float2half(lane + 0.5f), 1);
  });
  EXPECT_EQ(doubles[4], 5.1);
  EXPECT_EQ(__half2float(halves[4]), 5.5f);
}

TEST(Runtime, DivergedLanesMeetByTheirMasks) {
  for (const unsigned mask : {0x0000ffffu, 0x55555555u, 0x80000001u, 0xfffffffeu}) {
    Buffer<unsigned> votes(32, "votes");
    Buffer<int> sums(32, "sums");
    run(warps(1), [&, v = votes.data(), s = sums.data()] {
      const int lane = threadIdx.x;
      if (mask >> lane & 1) {
        s[lane] = __reduce_add_sync(mask, lane);
        v[lane] = __ballot_sync(mask, lane % 3 == 0);
      } else {
        v[lane] = __ballot_sync(~mask, lane % 5 == 0);
        s[lane] = __reduce_max_sync(~mask, -lane);
      }
    });
    unsigned threes = 0, fives = 0;
    int sum = 0;
    for (int lane = 0; lane < 32; ++lane) {
      threes |= unsigned{lane % 3 == 0} << lane & mask;
      fives |= unsigned{lane % 5 == 0} << lane & ~mask;
      if (mask >> lane & 1) sum += lane;
    }
    const int largest = -std::countr_zero(~mask);
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(votes[lane], mask >> lane & 1 ? threes : fives);
      EXPECT_EQ(sums[lane], mask >> lane & 1 ? sum : largest);
    }
  }
}

TEST(Runtime, LanesMeetFromDifferentBranches) {
  Buffer<int> got(32, "got");
  run(warps(1), [g = got.data()] {
    const int lane = threadIdx.x;
    if (lane % 2) {
      g[lane] = __shfl_xor_sync(kWarp, lane, 1);
      __syncwarp();
    } else {
      g[lane] = __shfl_xor_sync(kWarp, -lane, 1);
      __syncwarp();
    }
  });
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(got[lane], lane % 2 ? 1 - lane : lane + 1);
}

TEST(Runtime, VotesOfWarpsAndBlocks) {
  Buffer<int> got(7, "got");
  run({dim3(1), dim3(80)}, [g = got.data()] {
    const int thread = threadIdx.x;
    const unsigned mask = thread < 64 ? kWarp : 0xffffu;
    const int count = __syncthreads_count(thread % 4 == 0), all = __syncthreads_and(thread < 79),
              any = __syncthreads_or(thread == 79);
    const int warp_any = __any_sync(mask, thread == 40), warp_all = __all_sync(mask, thread != 70);
    __syncwarp(mask);
    if (thread == 35) g[0] = count, g[1] = all, g[2] = any, g[3] = warp_any, g[4] = warp_all;
    if (thread == 70) g[5] = warp_any, g[6] = warp_all;
  });
  EXPECT_EQ(std::vector<int>(got.data(), got.data() + 7), (std::vector<int>{20, 0, 1, 1, 1, 0, 0}));
}

TEST(Runtime, AtomicsReturnWhatWasThere) {
  Buffer<int> got(5, "got");
  Buffer<float> sum(1, "sum");
  got[2] = 7;
  emulator::launch({dim3(4), dim3(64)}, {}, [g = got.data(), s = sum.data()] {
    atomicAdd(s, 0.5f);
    atomicMax(&g[0], static_cast<int>(threadIdx.x));
    atomicMin(&g[1], -static_cast<int>(blockIdx.x));
    if (atomicCAS(&g[2], 7, 8) == 7) atomicAdd(&g[3], 1);
    atomicExch(&g[4], 9);
  });
  EXPECT_EQ(emulator::take_reports(), std::vector<std::string>{});
  EXPECT_EQ(std::vector<int>(got.data(), got.data() + 5), (std::vector<int>{63, -3, 8, 1, 9}));
  EXPECT_EQ(sum[0], 128.0f);
}

TEST(Runtime, ArithmeticOfCudaAlone) {
  Buffer<float> got(4, "got");
  run({dim3(1), dim3(1)}, [g = got.data()] {
    g[0] = rsqrtf(16.0f);
    g[1] = static_cast<float>(min(3u, 5) + max(-1, 2));
    g[2] = fmaxf(__int_as_float(__float_as_int(1.5f)), min(2.5f, 1.0f));
    g[3] = static_cast<float>(__popc(0xf0f0u) + __clz(1) + __ffs(8));
  });
  EXPECT_EQ(std::vector<float>(got.data(), got.data() + 4), (std::vector<float>{0.25f, 5.0f, 1.5f, 8 + 31 + 4}));
}

TEST(Runtime, ScheduleIsFixedByItsSeed) {
  const auto order_of_threads = [](const Schedule& schedule) {
    Buffer<int> turns(129, "turns");
    emulator::launch({dim3(2), dim3(64)}, schedule, [t = turns.data()] {
      t[1 + atomicAdd(t, 1)] = static_cast<int>(blockIdx.x * 64 + threadIdx.x);
      __syncwarp();
    });
    EXPECT_EQ(emulator::take_reports(), std::vector<std::string>{});
    return std::vector<int>(turns.data() + 1, turns.data() + 129);
  };
  for (const auto order : {Order::Random, Order::Priority}) {
    std::set<std::vector<int>> seen;
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const auto turns = order_of_threads({.order = order, .seed = seed});
      EXPECT_EQ(order_of_threads({.order = order, .seed = seed}), turns);
      seen.insert(turns);
    }
    EXPECT_EQ(seen.size(), 5u);
  }
  EXPECT_EQ(order_of_threads({.order = Order::Forward})[1], 1);
  EXPECT_EQ(order_of_threads({.order = Order::Reverse})[1], 126);
  EXPECT_NE(order_of_threads({.order = Order::Forward, .preemption = 512})[1], -1);
}

TEST(Runtime, ExceptionsEndTheLaunch) {
  const auto kernel = [] {
    if (threadIdx.x == 5) throw std::runtime_error("from a kernel");
    __syncthreads();
  };
  EXPECT_THROW(emulator::launch(warps(2), {}, kernel), std::runtime_error);
  run(warps(2), [] { __syncthreads(); });
}

TEST(Runtime, InvalidLaunchesAreReported) {
  const auto refused = [](const Launch& how) {
    bool ran = false;
    emulator::launch(how, {}, [&ran] { ran = true; });
    const auto found = emulator::take_reports();
    return !ran && found.size() == 1 && found[0].starts_with("invalid launch: ");
  };
  EXPECT_TRUE(refused({dim3(1), dim3(1025)}));
  EXPECT_TRUE(refused({dim3(1), dim3(32, 33)}));
  EXPECT_TRUE(refused({dim3(1), dim3(1, 1, 65)}));
  for (const dim3 none : {dim3(0), dim3(1, 0), dim3(1, 1, 0)}) {
    EXPECT_TRUE(refused({dim3(1), none}));
    EXPECT_TRUE(refused({none, dim3(32)}));
  }
  EXPECT_TRUE(refused({dim3(1, 65536), dim3(32)}));
  EXPECT_TRUE(refused({dim3(1), dim3(32), 227 * 1024 + 1}));
  run({dim3(1), dim3(1024), 227 * 1024}, [] {
    RESPEFT_DYNAMIC_SHARED(shared);
    shared[227 * threadIdx.x] = 1;
    __syncthreads();
  });
}

TEST(Runtime, LaunchesMayHaveLessSharedMemoryThanTheOneBefore) {
  for (const bool checked : {false, true}) {
    emulator::device::set_checked(checked);
    for (const size_t bytes : {128, 64}) {
      run(warps(1, bytes), [bytes] {
        RESPEFT_DYNAMIC_SHARED(shared);
        if (threadIdx.x * 4 < bytes) reinterpret_cast<float*>(shared)[threadIdx.x] = 1;
      });
    }
  }
}

// ---- tensor cores

template <bool kTransposed>
void load_lines(const uint16_t* lines, uint32_t* registers) {
  RESPEFT_DYNAMIC_SHARED(raw);
  auto* shared = reinterpret_cast<uint16_t*>(raw);
  const int lane = threadIdx.x;
  for (int i = 0; i < 8; ++i) shared[lane * 8 + i] = lines[lane * 8 + i];
  __syncwarp();
  uint32_t tiles[4];
  if constexpr (kTransposed) {
    ptx::load_tiles_transposed(tiles, shared + lane * 8);
  } else {
    ptx::load_tiles(tiles, shared + lane * 8);
  }
  for (int i = 0; i < 4; ++i) registers[lane * 4 + i] = tiles[i];
}

TEST(TensorCores, TilesAreLoadedByTheIsasTables) {
  Buffer<uint16_t> lines(256, "lines");
  Buffer<uint32_t> plain(128, "plain", false), transposed(128, "transposed", false);
  for (int i = 0; i < 256; ++i) lines[i] = static_cast<uint16_t>(i);
  run(warps(1, 512), [&] { load_lines<false>(lines.data(), plain.data()); });
  run(warps(1, 512), [&] { load_lines<true>(lines.data(), transposed.data()); });
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t tile = 0; tile < 4; ++tile) {
      const auto element = [tile](uint32_t row, uint32_t column) { return tile * 64 + row * 8 + column; };
      const uint32_t wide = lane % 4 * 2, narrow = lane / 4;
      EXPECT_EQ(plain[lane * 4 + tile], element(narrow, wide) | element(narrow, wide + 1) << 16);
      EXPECT_EQ(transposed[lane * 4 + tile], element(wide, narrow) | element(wide + 1, narrow) << 16);
    }
  }
}

uint32_t packed(float low, float high, __half) {
  return __half_as_ushort(__float2half(low)) | uint32_t{__half_as_ushort(__float2half(high))} << 16;
}
uint32_t packed(float low, float high, __nv_bfloat16) {
  return __bfloat16_as_ushort(__float2bfloat16(low)) | uint32_t{__bfloat16_as_ushort(__float2bfloat16(high))} << 16;
}

/// c [16, 8] += a [16, 16] b [16, 8] with the operands placed by the comments of cuda/ptx.cuh.
template <class Element>
void multiply_16_bits(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto left = [&](int row, int k) { return packed(a[row * 16 + k], a[row * 16 + k + 1], Element()); };
  const auto right = [&](int k) { return packed(b[k * 8 + g], b[(k + 1) * 8 + g], Element()); };
  const uint32_t held_a[4] = {left(g, 2 * t), left(g + 8, 2 * t), left(g, 2 * t + 8), left(g + 8, 2 * t + 8)};
  const uint32_t held_b[2] = {right(2 * t), right(2 * t + 8)};
  float sums[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  if constexpr (std::is_same_v<Element, __half>) {
    ptx::multiply_half(sums, held_a, held_b);
  } else {
    ptx::multiply_bf16(sums, held_a, held_b);
  }
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

void multiply_tf32(const float* a, const float* b, float* c) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto left = [&](int row, int k) { return ptx::round_to_tf32(a[row * 8 + k]); };
  const auto right = [&](int k) { return ptx::round_to_tf32(b[k * 8 + g]); };
  const uint32_t held_a[4] = {left(g, t), left(g + 8, t), left(g, t + 4), left(g + 8, t + 4)},
                 held_b[2] = {right(t), right(t + 4)};
  float sums[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  ptx::multiply_tf32(sums, held_a, held_b);
  for (int i = 0; i < 4; ++i) c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

/// Small integers, which every type holds, so that the products are exact.
template <class Kernel>
void expect_product(int depth, const Kernel& kernel) {
  Buffer<float> a(16 * depth, "a"), b(depth * 8, "b"), c(16 * 8, "c");
  std::vector<float> expected(16 * 8);
  for (size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i * 7 % 13) - 6;
  for (size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i * 5 % 11) - 5;
  for (int i = 0; i < 128; ++i) {
    c[i] = static_cast<float>(i);
    expected[i] = c[i];
    for (int k = 0; k < depth; ++k) expected[i] += a[i / 8 * depth + k] * b[k * 8 + i % 8];
  }
  emulator::launch(warps(1), {}, [&] { kernel(a.data(), b.data(), c.data()); });
  EXPECT_EQ(emulator::take_reports(), std::vector<std::string>{});
  EXPECT_EQ(std::vector<float>(c.data(), c.data() + 128), expected);
}

TEST(TensorCores, ProductsOfHalf) {
  expect_product(16, multiply_16_bits<__half>);
}
TEST(TensorCores, ProductsOfBFloat16) {
  expect_product(16, multiply_16_bits<__nv_bfloat16>);
}
TEST(TensorCores, ProductsOfTf32) {
  expect_product(8, multiply_tf32);
}

TEST(TensorCores, EveryHalfIsConvertedAsTheToolkitDoes) {
  Buffer<float> a(256, "a"), b(128, "b"), c(128, "c");
  b[0] = 1;
  for (const float value : {6.0e-8f, -6.1e-5f, 0.33325f, 65504.0f, INFINITY, -INFINITY}) {
    a[0] = value;
    c[0] = 0;
    emulator::launch(warps(1), {}, [&] { multiply_16_bits<__half>(a.data(), b.data(), c.data()); });
    EXPECT_EQ(c[0], __half2float(__float2half(value)));
  }
}

TEST(TensorCores, Tf32RoundsTiesAwayFromZero) {
  EXPECT_EQ(ptx::round_to_tf32(1.0f), 0x3f800000u);
  EXPECT_EQ(ptx::round_to_tf32(__uint_as_float(0x3f800fffu)), 0x3f800000u);
  EXPECT_EQ(ptx::round_to_tf32(__uint_as_float(0x3f801000u)), 0x3f802000u);
  EXPECT_EQ(ptx::round_to_tf32(__uint_as_float(0xbf801000u)), 0xbf802000u);
  EXPECT_EQ(ptx::round_to_tf32(INFINITY), 0x7f800000u);
  EXPECT_EQ(ptx::round_to_tf32(NAN), 0x7fffffffu);
}

// ---- asynchronous copies

/// Copies 16 bytes a thread, in two groups, and looks at the first after `kPending` may be unfinished, and into the second.
template <int kPending>
void copy_two_groups(const float* from, float* first, float* second) {
  RESPEFT_DYNAMIC_SHARED(raw);
  auto* shared = reinterpret_cast<float*>(raw);
  const int thread = threadIdx.x;
  ptx::copy_async(shared + thread * 4, from + thread * 4, 16);
  ptx::commit_copies();
  ptx::copy_async(shared + 256 + thread * 4, from + 256, 4);
  ptx::commit_copies();
  ptx::wait_for_copies<kPending>();
  for (int i = 0; i < 4; ++i) first[thread * 4 + i] = shared[thread * 4 + i];
  for (int i = 0; i < 4; ++i) second[thread * 4 + i] = shared[256 + thread * 4 + i];  // @copy
}

TEST(Copies, ArriveByGroupsLateOrEarly) {
  Buffer<float> from(260, "from"), first(256, "first"), second(256, "second");
  for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
  for (const bool late : {true, false}) {
    emulator::launch(warps(2, 2048), {.late_copies = late},
                     [&] { copy_two_groups<1>(from.data(), first.data(), second.data()); });
    EXPECT_EQ(first[9], 9);
    EXPECT_EQ(std::isnan(second[8]), late);
    EXPECT_TRUE(reported(emulator::take_reports(), {"before an asynchronous copy has arrived", at("copy")}));
    emulator::launch(warps(2, 2048), {.late_copies = late},
                     [&] { copy_two_groups<0>(from.data(), first.data(), second.data()); });
    EXPECT_EQ(second[8], 256);
    EXPECT_EQ(second[9], 0);
    EXPECT_EQ(emulator::take_reports(), std::vector<std::string>{});
  }
}

TEST(Copies, ReachOtherThreadsAfterABarrier) {
  Buffer<uint4> from(64, "from"), to(64, "to");
  const auto kernel = [&, f = from.data(), t = to.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<uint4*>(raw);
    ptx::copy_async(shared + threadIdx.x, f + threadIdx.x, 16);  // @issue
    ptx::commit_copies();
    ptx::wait_for_copies<0>();
    if constexpr (!faulty) __syncthreads();
    t[threadIdx.x] = shared[63 - threadIdx.x];  // @other
  };
  expect_fault(warps(2, 1024), kernel, {"data race on dynamic shared memory", at("issue"), at("other")});
}

TEST(Copies, ReadTheirSourceUntilTheyAreWaitedFor) {
  Buffer<float> from(512, "from");
  const auto own = [&, f = from.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    const int first = static_cast<int>(threadIdx.x) * 4, second = 256 + first;
    ptx::copy_async(raw + first * 4, f + first, 16);
    ptx::commit_copies();
    ptx::copy_async(raw + second * 4, f + second, 16);
    ptx::commit_copies();
    ptx::wait_for_copies<1>();
    f[faulty ? second : first] = 1;  // @own source
  };
  expect_fault(warps(2, 2048), own, {"write before an asynchronous copy has read `from`", at("own source")});
  const auto others = [&, f = from.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    const int thread = threadIdx.x;
    ptx::copy_async(raw + thread * 16, f + thread * 4, 16);
    ptx::commit_copies();
    if constexpr (!faulty) ptx::wait_for_copies<0>();
    __syncthreads();
    f[(63 - thread) * 4] = 1;  // @another's source
    ptx::wait_for_copies<0>();
  };
  expect_fault(warps(2, 1024), others, {"write before an asynchronous copy has read `from`", at("another's source")});
}

TEST(Copies, ReadTheirSourceWhereTheyAreWaitedFor) {
  Buffer<float> from(4, "from");
  const auto kernel = [&, f = from.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    if (threadIdx.x == 0) ptx::copy_async(raw, f, 16);  // @reader
    ptx::commit_copies();
    __syncthreads();
    ptx::wait_for_copies<0>();
    if constexpr (!faulty) __syncthreads();
    if (threadIdx.x == 32) f[0] = 1;  // @writer
  };
  expect_fault(warps(2, 16), kernel, {"data race on `from`", "read at " + at("reader"), "write at " + at("writer")});
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    emulator::launch(warps(2, 16), {.seed = seed}, [&] { kernel(std::true_type{}); });
    EXPECT_TRUE(reported(emulator::take_reports(), {"`from`", at("writer")})) << seed;
  }
}

TEST(Copies, EndWithTheirBlock) {
  Buffer<float> from(4, "from");
  run(warps(1, 512), [f = from.data()] {
    RESPEFT_DYNAMIC_SHARED(raw);
    ptx::copy_async(raw + threadIdx.x * 16, f, 16);
  });
  run(warps(1), [f = from.data()] {
    if (threadIdx.x < 4) f[threadIdx.x] = 1;
  });
}

TEST(Copies, AreCheckedLikeOtherAccesses) {
  Buffer<float> from(64, "from");
  const auto kernel = [&, f = from.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    ptx::copy_async(raw + threadIdx.x * 16, f + (faulty ? 4 : 0) + threadIdx.x * 4, threadIdx.x < 16 ? 16 : 0);  // @beyond
    ptx::commit_copies();
    ptx::wait_for_copies<0>();
  };
  expect_fault(warps(1, 512), kernel, {"past the end of `from`", at("beyond")});
  expect_fault(warps(1, 512 + 16),
               [](auto faulty) {
                 RESPEFT_DYNAMIC_SHARED(raw);
                 ptx::copy_async(raw + threadIdx.x * 16 + (faulty ? 8 : 0), raw, 0);  // @odd
               },
               {"misaligned asynchronous copy", at("odd")});
  expect_fault(warps(1, 512),
               [&, f = from.data()](auto faulty) {
                 RESPEFT_DYNAMIC_SHARED(raw);
                 ptx::copy_async(faulty ? static_cast<void*>(f) : raw + threadIdx.x * 16, f, 16);  // @global
               },
               {"asynchronous copy to memory that is not shared", at("global")});
}

// ---- faults, each with its corrected twin

TEST(Faults, MissingBlockBarrier) {
  Buffer<float> out(64, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<float*>(raw);
    shared[threadIdx.x] = 1;  // @written
    if constexpr (!faulty) __syncthreads();
    o[threadIdx.x] = shared[63 - threadIdx.x];  // @read
  };
  expect_fault(warps(2, 256), kernel, {"data race on dynamic shared memory", at("written"), at("read")});
}

TEST(Faults, MissingBarrierBeforeReuse) {
  Buffer<float> out(128, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<float*>(raw);
    for (int step = 0; step < 2; ++step) {
      shared[threadIdx.x] = static_cast<float>(step);  // @reused
      __syncthreads();
      o[step * 64 + threadIdx.x] = shared[63 - threadIdx.x];  // @still read
      if constexpr (!faulty) __syncthreads();
    }
  };
  expect_fault(warps(2, 256), kernel, {"data race", "read at " + at("still read"), "write at " + at("reused")});
}

TEST(Faults, MissingWarpBarrier) {
  Buffer<float> out(32, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<float*>(raw);
    shared[threadIdx.x] = 1;  // @lane writes
    if constexpr (faulty) {
      (void)__shfl_xor_sync(kWarp, 1, 1);  // orders no memory
    } else {
      __syncwarp();
    }
    o[threadIdx.x] = shared[31 - threadIdx.x];  // @lane reads
  };
  expect_fault(warps(1, 128), kernel, {"data race on dynamic shared memory", at("lane writes"), at("lane reads")});
}

TEST(Faults, WarpBarrierOfTooFewLanes) {
  Buffer<float> out(32, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<float*>(raw);
    const unsigned half = threadIdx.x < 16 ? 0xffffu : 0xffff0000u;
    shared[threadIdx.x] = 1;
    __syncwarp(half);
    o[threadIdx.x] = shared[threadIdx.x ^ (faulty ? 16u : 8u)];  // @beyond the mask
  };
  expect_fault(warps(1, 128), kernel, {"data race", at("beyond the mask")});
}

TEST(Faults, WriteUnderAMatrixLoad) {
  const auto kernel = [](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<uint4*>(raw);
    shared[threadIdx.x] = make_uint4(0, 0, 0, 0);  // @row
    if constexpr (!faulty) __syncwarp();
    uint32_t tiles[4];
    ptx::load_tiles(tiles, shared + threadIdx.x);  // @matrix
  };
  expect_fault(warps(1, 512), kernel, {"data race", at("row"), at("matrix")});
}

TEST(Faults, BlocksThatWriteTheSameGlobalMemory) {
  Buffer<float> out(32, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    if constexpr (faulty) {
      o[threadIdx.x] += 1;  // @lost update
    } else {
      atomicAdd(&o[threadIdx.x], 1.0f);
    }
  };
  expect_fault({dim3(3), dim3(32)}, kernel, {"data race on `out`", at("lost update"), "of block 0"});
}

TEST(Faults, AtomicBesidePlainAccess) {
  Buffer<int> out(1, "out");
  const auto kernel = [&, o = out.data()](auto faulty) {
    atomicAdd(o, 1);  // @atomic
    if constexpr (!faulty) __syncthreads();
    if (threadIdx.x == 0) *o = 0;  // @plain
  };
  expect_fault(warps(2), kernel, {"data race on `out`", "atomic at " + at("atomic"), at("plain")});
}

TEST(Faults, PlainReadAfterOnesOwnAtomic) {
  Buffer<int> sum(1, "sum"), out(32, "out");
  const auto kernel = [&, s = sum.data(), o = out.data()](auto faulty) {
    atomicAdd(s, 1);  // @added
    if constexpr (!faulty) __syncwarp();
    o[threadIdx.x] = *s;  // @not all added
  };
  expect_fault(warps(1), kernel, {"data race on `sum`", at("added"), at("not all added")});
}

TEST(Faults, StaticSharedMemory) {
  Buffer<float> out(64, "out");
  const auto race = [&, o = out.data()](auto faulty) {
    __shared__ float shared[64];
    shared[threadIdx.x] = 1;  // @static write
    if constexpr (!faulty) __syncthreads();
    o[threadIdx.x] = shared[threadIdx.x ^ 32];  // @static read
  };
  expect_fault(warps(2), race, {"data race on static shared memory", at("static write"), at("static read")});
  const auto uninitialized = [&, o = out.data()](auto faulty) {
    __shared__ float shared[64];
    if (!faulty || blockIdx.x == 0) shared[threadIdx.x] = 1;  // what another block left does not count
    __syncthreads();
    if (blockIdx.x == 1) o[threadIdx.x] = shared[threadIdx.x];  // @static uninitialized
  };
  expect_fault({dim3(2), dim3(64)}, uninitialized, {"uninitialized bytes of static shared memory", at("static uninitialized")});
}

TEST(Faults, StaticSharedMemoryIsNotKeptWhenPhasesAreCountedAnew) {
  Buffer<float> out(1, "out");
  const auto kernel = [o = out.data()](bool first, int barriers) {
    __shared__ float shared;
    if (first) shared = 1;
    for (int i = 0; i < barriers; ++i) __syncthreads();
    *o = shared;  // @left behind
  };
  const auto found = [&](bool first, int barriers) {
    emulator::launch({dim3(1), dim3(1)}, {}, [&] { kernel(first, barriers); });
    return emulator::take_reports();
  };
  EXPECT_EQ(found(true, 1 << 23), std::vector<std::string>{});  // half of the phases that there are numbers for
  EXPECT_TRUE(reported(found(false, 0), {"uninitialized bytes of static shared memory", at("left behind")}));
}

TEST(Faults, UninitializedMemory) {
  Buffer<float> in(64, "in", false), out(64, "out");
  const auto shared_memory = [&, o = out.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* shared = reinterpret_cast<float*>(raw);
    if (!faulty || threadIdx.x != 7) shared[threadIdx.x] = 1;
    o[threadIdx.x] = shared[threadIdx.x];  // @never written
  };
  expect_fault(warps(2, 256), shared_memory, {"uninitialized bytes of dynamic shared memory", at("never written"), "thread 7 "});
  const auto global_memory = [&, i = in.data(), o = out.data()](auto faulty) {
    if constexpr (!faulty) i[threadIdx.x] = 1;
    o[threadIdx.x] = i[threadIdx.x];  // @not filled
  };
  expect_fault(warps(2), global_memory, {"uninitialized bytes of `in`", at("not filled")});
}

TEST(Faults, OutOfBounds) {
  Buffer<float> in(64, "in", true, 1), out(64, "out");
  const auto with = [&](int faulty_shift, bool shared_memory) {
    return [=, i = in.data(), o = out.data()](auto faulty) {
      RESPEFT_DYNAMIC_SHARED(raw);
      auto* shared = reinterpret_cast<float*>(raw);
      const int index = static_cast<int>(threadIdx.x) + (faulty ? faulty_shift : 0);
      if (shared_memory) {
        shared[index] = 1;  // @outside of shared
      } else {
        o[threadIdx.x] = __ldg(&i[index]);  // @outside
      }
    };
  };
  expect_fault(warps(2), with(1, false), {"access past the end of `in`", at("outside"), "4 bytes, 4 past it"});
  expect_fault(warps(2), with(-2, false), {"access before the beginning of `in`", at("outside"), "4 bytes, 8 before it"});
  expect_fault(warps(2, 256), with(1, true), {"access past the end of dynamic shared memory", at("outside of shared")});
  expect_fault(warps(2, 256), with(-1, true), {"access before the beginning of dynamic shared memory", at("outside of shared")});
}

TEST(Faults, MemoryThatNobodyOwns) {
  std::vector<float> host(32);
  Buffer<float> buffer(32, "buffer");
  const auto kernel = [&, h = host.data(), b = buffer.data()](auto faulty) {
    (faulty ? h : b)[threadIdx.x] = 1;  // @host memory
  };
  expect_fault(warps(1), kernel, {"access to memory that no buffer owns", at("host memory")});
  const auto null = [&, b = buffer.data()](auto faulty) {
    float* const pointer = faulty ? nullptr : b;
    pointer[threadIdx.x] = 1;  // @null
  };
  expect_fault(warps(1), null, {"access to memory that no buffer owns", at("null")});
}

TEST(Faults, AnotherThreadsStack) {
  Buffer<float*> addresses(32, "addresses");
  const auto kernel = [&, a = addresses.data()](auto faulty) {
    float own = 1;
    a[threadIdx.x] = &own;
    __syncwarp();
    *a[threadIdx.x ^ (faulty ? 1u : 0u)] = 2;  // @foreign stack
  };
  expect_fault(warps(1), kernel, {"access to another thread's stack", at("foreign stack")});
}

TEST(Faults, Misaligned) {
  Buffer<float> in(256, "in", true, 1), out(256, "out");
  const auto kernel = [&, i = in.data(), o = out.data()](auto faulty) {
    const float* from = i + (faulty ? 0 : 3);
    reinterpret_cast<float4*>(o)[threadIdx.x] = reinterpret_cast<const float4*>(from)[threadIdx.x];  // @odd vector
  };
  expect_fault(warps(1), kernel, {"misaligned access", at("odd vector")});
  const auto matrix = [](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    reinterpret_cast<uint4*>(raw)[threadIdx.x] = make_uint4(0, 0, 0, 0);
    __syncwarp();
    uint32_t tiles[4];
    ptx::load_tiles(tiles, raw + (faulty ? 8 : 0));  // @odd row
  };
  expect_fault(warps(1, 512), matrix, {"misaligned row of ldmatrix", at("odd row")});
}

TEST(Faults, MatrixLoadFromGlobalMemory) {
  Buffer<uint4> rows(32, "rows");
  const auto kernel = [&, r = rows.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    reinterpret_cast<uint4*>(raw)[threadIdx.x] = r[threadIdx.x];
    __syncwarp();
    uint32_t tiles[4];
    ptx::load_tiles(tiles, (faulty ? r : reinterpret_cast<const uint4*>(raw)) + threadIdx.x);  // @global row
  };
  expect_fault(warps(1, 512), kernel, {"ldmatrix from memory that is not shared", at("global row")});
}

TEST(Faults, GlobalAccessToOtherMemory) {
  Buffer<uint4> global(32, "global");
  const auto store = [&, g = global.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    ptx::store_16_bytes((faulty ? reinterpret_cast<uint4*>(raw) : g) + threadIdx.x, make_uint4(1, 2, 3, 4));  // @global store
  };
  expect_fault(warps(1, 512), store, {"global access to shared memory at " + at("global store")});
  const auto load = [&, g = global.data()](auto faulty) {
    __shared__ uint4 shared[32];
    shared[threadIdx.x] = g[threadIdx.x];
    __syncwarp();
    (void)ptx::load_16_bytes((faulty ? shared : g) + threadIdx.x);  // @global load
  };
  expect_fault(warps(1), load, {"global access to shared memory at " + at("global load")});
  const auto copy = [&, g = global.data()](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    auto* const shared = reinterpret_cast<uint4*>(raw);
    shared[threadIdx.x] = g[threadIdx.x];
    __syncwarp();
    ptx::copy_async(shared + 32 + threadIdx.x, (faulty ? shared : g) + threadIdx.x, 16);  // @copied
  };
  expect_fault(warps(1, 1024), copy, {"global access to shared memory at " + at("copied")});
  const auto local = [&, g = global.data()](auto faulty) {
    uint4 own = g[threadIdx.x];
    ptx::store_16_bytes(faulty ? &own : g + threadIdx.x, own);  // @local store
  };
  expect_fault(warps(1), local, {"global access to local memory at " + at("local store")});
}

/// `instruction` gets the place that it is to be at.
template <class Instruction>
void expect_to_be_aligned(const std::string& name, const Instruction& instruction) {
  const auto kernel = [&](auto faulty) {
    RESPEFT_DYNAMIC_SHARED(raw);
    reinterpret_cast<uint4*>(raw)[threadIdx.x] = make_uint4(0, 0, 0, 0);
    __syncwarp();
    if (faulty && threadIdx.x % 4) {
      instruction(raw, std::source_location::current());  // @one place
    } else {
      instruction(raw, std::source_location::current());  // @another place
    }
  };
  expect_fault(warps(1, 512), kernel,
               {"lanes of one warp meet in different instructions: " + name + " at ", at("one place"), at("another place")});
}

TEST(Faults, LanesAtDifferentTensorCoreInstructions) {
  const auto load = [](const auto& function) {
    return [&function](const void* row, std::source_location here) {
      uint32_t tiles[4];
      function(tiles, row, here);
    };
  };
  expect_to_be_aligned("ldmatrix", load(ptx::load_tiles));
  expect_to_be_aligned("ldmatrix.trans", load(ptx::load_tiles_transposed));
  const auto multiply = [](const auto& function) {
    return [&function](const void*, std::source_location here) {
      float c[4] = {};
      function(c, {}, {}, here);
    };
  };
  expect_to_be_aligned("mma.m16n8k16.bf16", multiply(ptx::multiply_bf16));
  expect_to_be_aligned("mma.m16n8k16.f16", multiply(ptx::multiply_half));
  expect_to_be_aligned("mma.m16n8k8.tf32", multiply(ptx::multiply_tf32));
}

TEST(Faults, BarrierInABranch) {
  const auto some_return = [](auto faulty) {
    if (faulty && threadIdx.x >= 40) return;
    __syncthreads();  // @after return
  };
  expect_fault(warps(2), some_return, {"barrier", at("after return")});
  const auto two_barriers = [](auto faulty) {
    if (faulty && threadIdx.x < 32) {
      __syncthreads();  // @one barrier
    } else {
      __syncthreads();  // @other barrier
    }
  };
  expect_fault(warps(2), two_barriers,
               {"threads of one block wait at different barriers", at("one barrier"), at("other barrier")});
}

TEST(Faults, Deadlock) {
  const auto kernel = [](auto faulty) {
    if (!faulty || threadIdx.x % 32 < 16) {
      __syncwarp(faulty ? kWarp : 0xffffffffu);  // @half a warp
    } else {
      __syncthreads();  // @the other half
    }
  };
  expect_fault(warps(2), kernel,
               {"deadlock: ", "32 threads (the first is 16) wait for the barrier at " + at("the other half"),
                "32 threads (the first is 0) wait for the __syncwarp of lanes 0xffffffff at " + at("half a warp")});
}

TEST(Faults, LanesAndMasksThatDoNotFit) {
  Buffer<int> out(32, "out");
  const auto outside = [&, o = out.data()](auto faulty) {
    if (faulty || threadIdx.x < 16) o[threadIdx.x] = __shfl_xor_sync(0xffffu, 1, 1);  // @outside its mask
  };
  expect_fault(warps(1), outside, {"by a lane outside its mask", at("outside its mask")});
  const auto from = [&, o = out.data()](auto faulty) {
    if (threadIdx.x < 16) o[threadIdx.x] = __shfl_xor_sync(0xffffu, 1, faulty ? 16 : 8);  // @from outside
  };
  expect_fault(warps(1), from, {"a shuffle from a lane outside its mask", at("from outside")});
  const auto different = [&, o = out.data()](auto faulty) {
    if (faulty && threadIdx.x < 16) {
      o[threadIdx.x] = __shfl_xor_sync(kWarp, 1, 1);  // @shuffles
    } else {
      o[threadIdx.x] = __any_sync(kWarp, 1);  // @votes
    }
  };
  expect_fault(warps(1), different, {"lanes of one warp meet in different functions", at("shuffles"), at("votes")});
}

__device__ __forceinline__ void write_inlined(float* target, float value) {
  *target = value;  // @inlined
}

TEST(Faults, AreReportedOnceWithTheCallersLine) {
  Buffer<float> out(8, "out");
  const auto kernel = [o = out.data()] { write_inlined(o + 8 + threadIdx.x, 1); };  // @caller
  emulator::launch({dim3(3), dim3(64)}, {}, kernel);
  const auto found = emulator::take_reports();
  EXPECT_EQ(found.size(), 1u);
  EXPECT_TRUE(reported(found, {"past the end of `out` at " + at("inlined") + " (from " + at("caller") + ")"}));
  EXPECT_EQ(emulator::take_reports(), std::vector<std::string>{});
}

TEST(Faults, LeaveTracesWhereNoHookIs) {
  Buffer<float> out(32, "out");
  const auto kernel = [o = out.data()](int shift) {
    RESPEFT_DYNAMIC_SHARED(shared);
    const float value = 1;
    emulator::device::copy_unchecked(o + threadIdx.x + shift, &value, sizeof value);
    emulator::device::copy_unchecked(shared + threadIdx.x * 4 - shift * 4, &value, sizeof value);
  };
  emulator::launch(warps(1, 128), {}, [o = out.data()] { o[32 + threadIdx.x] = 1; });
  EXPECT_EQ(emulator::take_reports().size(), 1u);  // the hook's; the launches below have their own
  emulator::launch(warps(1, 128), {}, [&] { kernel(1); });
  EXPECT_EQ(emulator::take_reports(),
            (std::vector<std::string>{"write before the beginning of dynamic shared memory", "write past the end of `out`"}));
  run(warps(1, 128), [&] { kernel(0); });
}

TEST(Faults, LeaveTracesInUncheckedPrograms) {
  emulator::device::set_checked(false);
  Buffer<float> out(32, "out", true, 3);
  const auto outside = [o = out.data()] {
    RESPEFT_DYNAMIC_SHARED(shared);
    o[1 + threadIdx.x] = 1;
    o[-1] = 1;
    shared[32 + threadIdx.x] = 1;
  };
  emulator::launch(warps(1, 32), {}, outside);
  emulator::device::set_checked(true);
  const auto found = emulator::take_reports();
  EXPECT_TRUE(reported(found, {"write past the end of `out`"}));
  EXPECT_TRUE(reported(found, {"write before the beginning of `out`"}));
  EXPECT_TRUE(reported(found, {"write past the end of dynamic shared memory"}));
}

}  // namespace
