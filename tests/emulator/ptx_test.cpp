#include "tests/emulator/ptx.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <random>
#include <regex>

#include "tests/emulator/device.h"
#include "tests/emulator/ptx_samples.h"

using emulator::Buffer;
using emulator::Launch;
using emulator::Order;
using emulator::PtxKernel;
using emulator::PtxModule;
using emulator::Schedule;

namespace {

const PtxModule& module() {
  static const PtxModule instance(PTX_SAMPLES);
  return instance;
}

class Ptx : public testing::Test {
 protected:
  void SetUp() override {
    emulator::device::set_checked(true);
    emulator::take_reports();
  }
  void TearDown() override { EXPECT_EQ(emulator::take_reports(), std::vector<std::string>()); }

  /// One block.
  template <class... Arguments>
  void run(const std::string& kernel, unsigned threads, const Arguments&... arguments) {
    module().kernel(kernel).launch(Launch{dim3(1), dim3(threads), 0}, Schedule{}, arguments...);
  }
};

template <class T>
bool same_bits(const T& a, const T& b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}

/// Equal, or both NaN.
template <class T>
void expect_same(T value, T expected, const std::string& what) {
  EXPECT_TRUE((std::isnan(value) && std::isnan(expected)) || same_bits(value, expected))
      << what << ": " << value << ", not " << expected;
}

template <class T>
void test_integers() {
  using Limits = std::numeric_limits<T>;
  std::mt19937_64 random(3);
  const int64_t half = int64_t{1} << (sizeof(T) * 4 - 1);  // products of smaller numbers fit
  std::vector<T> a, b;
  std::vector<int> shift;
  for (int i = 0; i < 64; ++i) {
    const bool is_signed = Limits::is_signed;
    const auto x = is_signed ? static_cast<int64_t>(random() % static_cast<uint64_t>(half)) : static_cast<int64_t>(random());
    const auto y = is_signed ? static_cast<int64_t>(random() % static_cast<uint64_t>(half)) : static_cast<int64_t>(random());
    a.push_back(static_cast<T>(is_signed && i % 2 ? -x : x));
    b.push_back(i % 8 == 0 ? a.back() : static_cast<T>(is_signed && i % 4 > 1 ? -y : y));
    if (i % 8 == 3) b.back() = static_cast<T>(i % 16);
    if (b.back() == 0) b.back() = 1;
    shift.push_back(is_signed ? i % static_cast<int>(sizeof(T) * 4) : i % static_cast<int>(sizeof(T) * 8));
  }
  Buffer<T> from_a(a, "a"), from_b(b, "b"), out(64 * samples::kIntegerResults, "out", false);
  Buffer<int> from_shift(shift, "shift");
  const std::map<std::string, std::string> letters = {{"s2", "s"}, {"u2", "t"}, {"s4", "i"},
                                                      {"u4", "j"}, {"s8", "l"}, {"u8", "m"}};
  const auto key = (Limits::is_signed ? "s" : "u") + std::to_string(sizeof(T));
  module()
      .kernel("integer_arithmeticI" + letters.at(key))
      .launch(Launch{dim3(1), dim3(64), 0}, Schedule{}, from_a.data(), from_b.data(), from_shift.data(), out.data());
  for (size_t i = 0; i < 64; ++i) {
    std::array<T, samples::kIntegerResults> expected{};
    samples::integers(a[i], b[i], shift[i], expected.data());
    for (size_t n = 0; n < expected.size(); ++n)
      EXPECT_EQ(out[i * expected.size() + n], expected[n]) << key << ", result " << n << " of " << +a[i] << " and " << +b[i];
  }
}

TEST_F(Ptx, computes_with_integers) {
  test_integers<int16_t>();
  test_integers<uint16_t>();
  test_integers<int32_t>();
  test_integers<uint32_t>();
  test_integers<int64_t>();
  test_integers<uint64_t>();
}

template <class T>
std::vector<T> special_floats() {
  using Limits = std::numeric_limits<T>;
  return {T(0),
          -T(0),
          T(1),
          T(-1.5),
          T(2.5),
          T(-2.5),
          T(0.1),
          Limits::denorm_min(),
          Limits::max(),
          Limits::infinity(),
          -Limits::infinity(),
          Limits::quiet_NaN(),
          T(1e-20),
          T(3)};
}

template <class T>
void test_floats() {
  const auto values = special_floats<T>();
  std::vector<T> a, b, c;
  for (size_t i = 0; i < values.size(); ++i)
    for (size_t j = 0; j < values.size(); ++j) a.push_back(values[i]), b.push_back(values[j]), c.push_back(values[(i + j) % 7]);
  Buffer<T> from_a(a, "a"), from_b(b, "b"), from_c(c, "c"), out(a.size() * samples::kFloatResults, "out", false);
  module()
      .kernel(std::string("float_arithmeticI") + (sizeof(T) == 4 ? "f" : "d"))
      .launch(Launch{dim3(1), dim3(static_cast<unsigned>(a.size())), 0}, Schedule{}, from_a.data(), from_b.data(), from_c.data(),
              out.data());
  for (size_t i = 0; i < a.size(); ++i) {
    std::array<T, samples::kFloatResults> expected{};
    samples::floats(a[i], b[i], c[i], expected.data());
    for (size_t n = 0; n < expected.size(); ++n) {
      if ((n == 9 || n == 10) && a[i] == b[i]) continue;  // the minimum of −0 and 0 is either in C++
      expect_same(out[i * expected.size() + n], expected[n], "result " + std::to_string(n) + " of thread " + std::to_string(i));
    }
  }
}

TEST_F(Ptx, computes_with_floats) {
  test_floats<float>();
  test_floats<double>();
}

TEST_F(Ptx, converts) {
  std::vector<float> values;
  for (int i = 0; i < 64; ++i) values.push_back(static_cast<float>(i - 32) * 3.03125f + 0.001f * static_cast<float>(i));
  Buffer<float> from(values, "values");
  Buffer<double> out(64 * samples::kConversions, "out", false);
  run("samples::convert(", 64, from.data(), out.data());
  for (size_t i = 0; i < 64; ++i) {
    std::array<double, samples::kConversions> expected{};
    samples::conversions(values[i], expected.data());
    for (size_t n = 0; n < expected.size(); ++n)
      EXPECT_EQ(out[i * expected.size() + n], expected[n]) << "result " << n << " of " << values[i];
  }
}

std::vector<float> floats_to_round() {
  auto values = special_floats<float>();
  for (const float value :
       {65504.0f, 65519.0f, 65520.0f, 1e-7f, 6.1e-5f, 5.96e-8f, 2.98e-8f, 3.4e38f, 1.00390625f, 1.01171875f, 1.0004883f})
    for (const float sign : {1.0f, -1.0f}) values.push_back(sign * value);
  std::mt19937 random(5);
  while (values.size() < 256) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random())));
  return values;
}

TEST_F(Ptx, rounds_to_16_bits) {
  const auto values = floats_to_round();
  Buffer<float> from(values, "values");
  Buffer<samples::Bits16> out(values.size(), "out", false);
  run("narrow", 256, from.data(), out.data());
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(values[i])) continue;
    const auto expected = samples::narrowed(values[i]);
    EXPECT_TRUE(same_bits(out[i], expected))
        << values[i] << ": " << out[i].half << " " << out[i].bfloat << " " << out[i].half_back << " " << out[i].bfloat_back
        << ", not " << expected.half << " " << expected.bfloat;
  }
}

TEST_F(Ptx, rounds_to_tf32) {
  const std::vector<float> values = {1.0f,   1.00048828125f, 1.0009765625f, 1.0004882f, -1.00048828125f,
                                     1e-40f, 3.4028235e38f,  INFINITY};
  Buffer<float> from(values, "values");
  Buffer<uint32_t> out(values.size(), "out", false);
  run("round_to_tf32", 8, from.data(), out.data());
  const std::array expected = {1.0f, 1.0009765625f, 1.0009765625f, 1.0f, -1.0009765625f};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(std::bit_cast<float>(out[i]), expected[i]);
  EXPECT_EQ(out[6], 0x7f800000u);
  EXPECT_EQ(out[7], 0x7f800000u);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(out[i] & 0x1fff, 0u);
}

/// Against float64, in which the sums and products of these numbers are exact, rounded once.
template <class Element>
void test_pairs(const std::string& name, int mantissa) {
  struct Pair {
    std::array<uint16_t, 2> bits;
  };
  const auto value = [](uint16_t bits) { return static_cast<double>(static_cast<float>(std::bit_cast<Element>(bits))); };
  std::mt19937 random(11);
  const auto draw = [&](size_t count) {
    std::vector<Pair> pairs(count);
    for (auto& pair : pairs)
      for (auto& bits : pair.bits)
        bits = static_cast<uint16_t>((random() & 0x8000) | ((1u << 14) - (6u << mantissa) + random() % (10u << mantissa)));
    return pairs;
  };
  const auto a = draw(256), b = draw(256), c = draw(256);
  Buffer<Pair> from_a(a, "a"), from_b(b, "b"), from_c(c, "c"), out(4 * 256, "out", false);
  module()
      .kernel("pair_arithmeticI" + name)
      .launch(Launch{dim3(1), dim3(256), 0}, Schedule{}, from_a.data(), from_b.data(), from_c.data(), out.data());
  for (size_t i = 0; i < 256; ++i)
    for (size_t lane = 0; lane < 2; ++lane) {
      const double x = value(a[i].bits[lane]), y = value(b[i].bits[lane]), z = value(c[i].bits[lane]);
      const std::array exact = {x * y + z, x + y, std::max(x, y), -x};  // at most 40 bits
      for (size_t n = 0; n < 4; ++n) {
        const double unit = exact[n] == 0 ? 1 : std::ldexp(1.0, std::ilogb(exact[n]) - mantissa);
        EXPECT_EQ(value(out[4 * i + n].bits[lane]), std::nearbyint(exact[n] / unit) * unit) << name << " " << n;
      }
    }
}

TEST_F(Ptx, computes_with_pairs_of_16_bits) {
  test_pairs<__half>("7__half2", 10);
  test_pairs<__nv_bfloat16>("14__nv_bfloat162", 7);
}

std::array<uint32_t, 16> expected_bits(uint32_t x, uint32_t y) {
  const auto both = uint64_t{y} << 32 | x;
  const auto byte = [&](int n) { return static_cast<uint32_t>(both >> (8 * n) & 0xff); };
  const uint32_t count = std::min(y & 63, 32u), field = x >> 5 & 0x1ff;
  uint32_t reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1) << (31 - bit);
  const auto high = static_cast<uint32_t>(uint64_t{x} * y >> 32);
  const auto product = static_cast<int64_t>(static_cast<int32_t>(x)) * static_cast<int32_t>(y);
  const float rounded = static_cast<float>(x);
  return {byte(0) | byte(4) << 8 | byte(2) << 16 | byte(6) << 24,
          static_cast<uint32_t>((both << (y & 31)) >> 32),
          static_cast<uint32_t>(both >> count),
          static_cast<uint32_t>(std::popcount(x)),
          static_cast<uint32_t>(std::countl_zero(x)),
          reversed,
          high,
          static_cast<uint32_t>(product >> 32),
          field,
          field & 0x100 ? field | ~0x1ffu : field,
          (y & ~(0xfffu << 7)) | (x & 0xfff) << 7,
          (x & y) | (x & x) | (y & x),  // 0xe8 is the majority
          high + x,
          static_cast<uint32_t>(product + 1),
          x << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24,
          x == 0                     ? 0
          : rounded >= 2147483648.0f ? 0x7fffffffu
                                     : static_cast<uint32_t>(rounded)};
}

TEST_F(Ptx, handles_bits) {
  std::mt19937 random(7);
  std::vector<uint32_t> a = {0, 1, 0x80000000u, 0xffffffffu}, b = {0, 33, 0x7fffffffu, 0xffffffffu};
  while (a.size() < 64) a.push_back(static_cast<uint32_t>(random())), b.push_back(static_cast<uint32_t>(random()));
  Buffer<uint32_t> from_a(a, "a"), from_b(b, "b"), out(64 * 16, "out", false);
  run("samples::bits", 64, from_a.data(), from_b.data(), out.data());
  for (size_t i = 0; i < 64; ++i) {
    const auto expected = expected_bits(a[i], b[i]);
    for (size_t n = 0; n < 16; ++n)
      EXPECT_EQ(out[16 * i + n], expected[n]) << "result " << n << " of " << a[i] << " and " << b[i];
  }
}

TEST_F(Ptx, approximates) {
  const std::vector<float> values = {0.25f, 1.0f, 2.75f, 9.5f};
  Buffer<float> from(values, "values"), out(24, "out", false);
  run("approximations", 4, from.data(), out.data());
  for (size_t i = 0; i < 4; ++i) {
    const float x = values[i];
    const std::array expected = {std::exp2(x), 1 / std::sqrt(x), 1 / x, std::log2(x), std::sin(x), std::exp(x)};
    for (size_t n = 0; n < 6; ++n) EXPECT_NEAR(out[6 * i + n], expected[n], 1e-5f * std::abs(expected[n]) + 1e-6f) << n;
  }
}

TEST_F(Ptx, loops_and_branches_by_thread) {
  std::vector<unsigned> values;
  std::vector<int> keys;
  for (int i = 0; i < 128; ++i) values.push_back(static_cast<unsigned>(27 + i * i)), keys.push_back(i % 9);
  Buffer<unsigned> from(values, "values");
  Buffer<int> from_keys(keys, "keys"), out(128, "out", false);
  module().kernel("control_flow").launch(Launch{dim3(2), dim3(64), 0}, Schedule{}, from.data(), from_keys.data(), out.data());
  for (size_t i = 0; i < 128; ++i)
    EXPECT_EQ(out[i], samples::steps_to_one(values[i]) + samples::choice(keys[i], static_cast<int>(values[i])));
}

TEST_F(Ptx, takes_a_struct) {
  Buffer<float> from(std::vector<float>(70, 3.0f), "from"), to(70, "to", false);
  for (size_t i = 0; i < 70; ++i) from[i] = static_cast<float>(i);
  const samples::Parameters parameters{from.data(), to.data(), 7, 10, {1, 2, 3, 4}, true};
  module().kernel("samples::scale").launch(Launch{dim3(3), dim3(4), 0}, Schedule{}, parameters);
  for (size_t row = 0; row < 7; ++row)
    for (size_t column = 0; column < 10; ++column)
      EXPECT_EQ(to[row * 10 + 9 - column], from[row * 10 + column] * parameters.factors[row % 4]);
}

TEST_F(Ptx, reaches_every_address_space) {
  const PtxModule own(PTX_SAMPLES);  // its counter is new
  const auto kernel = own.kernel("spaces");
  EXPECT_TRUE(kernel.uses_local_memory());
  EXPECT_FALSE(module().kernel("samples::reverse").uses_local_memory());
  Buffer<signed char> bytes({-1, 2, -3, 100}, "bytes");
  Buffer<uint4> vectors(4, "vectors"), out(8, "out", false);
  Buffer<double2> doubles(4, "doubles"), doubles_out(4, "doubles out", false);
  for (unsigned i = 0; i < 4; ++i) vectors[i] = {i, i + 10, i + 20, i + 30}, doubles[i] = {0.5, i + 0.25};
  const Schedule at_every_access{Order::Random, 1, true, 1024};
  kernel.launch(Launch{dim3(1), dim3(4), 0}, at_every_access, bytes.data(), vectors.data(), doubles.data(), out.data(),
                doubles_out.data(), 5);
  std::array<unsigned, 4> counted{};
  const std::array table = {5, -7, 11, 13};
  for (unsigned i = 0; i < 4; ++i) {
    const int byte = bytes[i];
    EXPECT_TRUE(same_bits(out[2 * i], uint4{i + 30, i + 20, i + 10, i}));
    EXPECT_EQ(static_cast<int>(out[2 * i + 1].x), byte * static_cast<int>((5 + i) % 8));
    EXPECT_EQ(static_cast<int>(out[2 * i + 1].y), table[i]);
    EXPECT_EQ(static_cast<int>(out[2 * i + 1].z), byte);
    counted[i] = out[2 * i + 1].w;
    EXPECT_EQ(doubles_out[i].x, i + 0.25);
    EXPECT_EQ(doubles_out[i].y, static_cast<unsigned char>(byte));
  }
  std::sort(counted.begin(), counted.end());
  EXPECT_EQ(counted, (std::array{40u, 41u, 42u, 43u}));
}

TEST_F(Ptx, shares_memory) {
  const auto kernel = module().kernel("samples::reverse");
  EXPECT_EQ(kernel.static_shared_bytes(), 256u);
  for (const auto order : {Order::Forward, Order::Reverse, Order::Random, Order::Priority}) {
    Buffer<int> from(192, "from"), to(192, "to", false);
    for (int i = 0; i < 192; ++i) from[static_cast<size_t>(i)] = i * i;
    kernel.launch(Launch{dim3(3), dim3(64), 64 * sizeof(int)}, Schedule{order, 5, true, 100}, from.data(), to.data());
    for (size_t i = 0; i < 192; ++i) EXPECT_EQ(to[i], from[i / 64 * 64 + 63 - i % 64]);
  }
}

TEST_F(Ptx, updates_atomically) {
  Buffer<int> sums(4, "sums");
  Buffer<unsigned> extremes(6, "extremes");
  Buffer<float> total(1, "total");
  Buffer<unsigned long long> large(1, "large");
  Buffer<double> exact(1, "exact");
  extremes[2] = ~0u;
  module().kernel("atomics").launch(Launch{dim3(2), dim3(32), 0}, Schedule{}, sums.data(), extremes.data(), total.data(),
                                    large.data(), exact.data());
  EXPECT_EQ(sums[0], 22 * 63 / 2);
  EXPECT_EQ(sums[0] + sums[1] + sums[2], 63 * 64 / 2);
  EXPECT_EQ(sums[3], -63);
  EXPECT_EQ(extremes[0], 63u);
  EXPECT_EQ(extremes[1], ~0u);
  EXPECT_EQ(extremes[2], 0xffff0000u);
  EXPECT_EQ(extremes[3], 0u);
  EXPECT_EQ(extremes[4], 128u);
  EXPECT_EQ(extremes[5], 7u);
  EXPECT_EQ(total[0], 32.0f);
  EXPECT_EQ(large[0], 64ull << 33);
  EXPECT_EQ(exact[0], 16.0);
}

TEST_F(Ptx, talks_within_warps_and_blocks) {
  Buffer<samples::Warp> out(64, "out", false);
  run("warps", 64, out.data());
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32;
    const samples::Warp expected{5,
                                 lane < 3 ? lane : lane - 3,
                                 lane + 3 > 31 ? lane : lane + 3,
                                 lane ^ 9,
                                 lane / 8 * 8 + 3,
                                 0x49249249u,
                                 496,
                                 ~0u,
                                 -9,
                                 0,
                                 1,
                                 13,
                                 0,
                                 1};
    EXPECT_TRUE(same_bits(out[static_cast<size_t>(i)], expected)) << i;
  }
}

TEST_F(Ptx, copies_asynchronously) {
  for (const bool late : {false, true}) {
    Buffer<uint4> from(32, "from"), to(32, "to", false);
    std::memset(from.data(), 0x5a, 32 * sizeof(uint4));
    module().kernel("copy_parts").launch(Launch{dim3(1), dim3(32), 0}, Schedule{Order::Random, 1, late}, from.data(), to.data());
    for (size_t i = 0; i < 32; ++i) {
      uint4 expected{};
      std::memcpy(&expected, &from[i], i % 17);
      EXPECT_TRUE(same_bits(to[i], expected)) << i;
    }
  }
}

TEST_F(Ptx, loads_tiles) {
  Buffer<std::array<uint16_t, 8>> rows(32, "rows");
  for (size_t row = 0; row < 32; ++row)
    for (size_t column = 0; column < 8; ++column) rows[row][column] = static_cast<uint16_t>(row * 100 + column);
  Buffer<std::array<std::array<uint16_t, 2>, 4>> plain(32, "plain", false), transposed(32, "transposed", false);
  run("load_tiles<false>", 32, rows.data(), plain.data());
  run("load_tiles<true>", 32, rows.data(), transposed.data());
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t tile = 0; tile < 4; ++tile)
      for (size_t half = 0; half < 2; ++half) {
        EXPECT_EQ(plain[lane][tile][half], rows[tile * 8 + lane / 4][lane % 4 * 2 + half]);
        EXPECT_EQ(transposed[lane][tile][half], rows[tile * 8 + lane % 4 * 2 + half][lane / 4]);
      }
}

/// Small integers, whose products and sums are exact. `depth`: of the instruction; `Element` as in memory.
template <class Element>
void test_multiply(const std::string& kernel, size_t depth) {
  constexpr size_t kHeld = 4 / sizeof(Element);
  std::mt19937 random(13);
  const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 15) - 7); };
  float left[16][16], right[16][8], sums[16][8];
  for (auto& row : left)
    for (auto& value : row) value = draw();
  for (auto& row : right)
    for (auto& value : row) value = draw();
  for (auto& row : sums)
    for (auto& value : row) value = draw();
  Buffer<std::array<Element, 4 * kHeld>> a(32, "a");
  Buffer<std::array<Element, 2 * kHeld>> b(32, "b");
  Buffer<std::array<float, 4>> c(32, "c");
  for (size_t lane = 0; lane < 32; ++lane) {
    const size_t group = lane / 4, within = lane % 4;
    for (size_t i = 0; i < 4; ++i)
      for (size_t e = 0; e < kHeld; ++e)
        a[lane][i * kHeld + e] = Element(left[group + i % 2 * 8][kHeld * within + e + i / 2 * depth / 2]);
    for (size_t i = 0; i < 2; ++i)
      for (size_t e = 0; e < kHeld; ++e) b[lane][i * kHeld + e] = Element(right[kHeld * within + e + i * depth / 2][group]);
    for (size_t i = 0; i < 4; ++i) c[lane][i] = sums[group + i / 2 * 8][2 * within + i % 2];
  }
  module().kernel(kernel).launch(Launch{dim3(1), dim3(32), 0}, Schedule{}, a.data(), b.data(), c.data());
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t i = 0; i < 4; ++i) {
      const size_t row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float expected = sums[row][column];
      for (size_t k = 0; k < depth; ++k) expected += left[row][k] * right[k][column];
      EXPECT_EQ(c[lane][i], expected) << kernel << " at " << row << ", " << column;
    }
}

TEST_F(Ptx, multiplies_on_tensor_cores) {
  test_multiply<__nv_bfloat16>("multiply<0>", 16);
  test_multiply<__half>("multiply<1>", 16);
  test_multiply<float>("multiply<2>", 8);
}

/// A kernel with a fault must be reported with these words, its correction must not.
template <class... Arguments>
void expect_fault(const std::string& kernel, const std::string& words, const std::string& line, const Arguments&... arguments) {
  const auto run = [&](const char* variant, Order order) {
    module().kernel("samples::" + kernel + variant).launch(Launch{dim3(1), dim3(64), 0}, Schedule{order}, arguments...);
    return emulator::take_reports();
  };
  for (const auto order : {Order::Forward, Order::Reverse, Order::Random, Order::Priority}) {
    EXPECT_EQ(run("<true>", order), std::vector<std::string>()) << kernel;
    std::string reports;
    for (const auto& report : run("<false>", order)) reports += report + "\n";
    EXPECT_NE(reports.find(words), std::string::npos) << kernel << ", order " << static_cast<int>(order) << ": " << reports;
    EXPECT_NE(reports.find(line), std::string::npos) << reports;
    static const std::regex place(R"((ptx_samples\.cu:\d+|ptx\.cuh:\d+ \(from ptx_samples\.cu:\d+\))[^,]*, PTX line \d+: )");
    EXPECT_TRUE(std::regex_search(reports, place)) << reports;
  }
}

TEST_F(Ptx, finds_faults) {
  Buffer<int> to(64, "to", false), small(40, "small", false);
  Buffer<uint4> vectors(64, "vectors"), to_vectors(64, "to vectors", false);
  Buffer<float> floats(64 * 4 + 4, "floats");
  Buffer<float> sums(64, "sums", false);
  expect_fault("barrier_fault", "race", "ld.shared.u32", to.data());
  expect_fault("bounds_fault", "small", "st.global.u32", small.data(), 40);
  expect_fault("shared_bounds_fault", "out of bounds", "ld.shared.u32", to.data());
  expect_fault("tile_bounds_fault", "out of bounds", "ldmatrix", to.data());
  expect_fault("initial_fault", "uninitialized", "ld.shared.u32", to.data());
  expect_fault("alignment_fault", "misaligned", " (from ptx_samples.cu:", floats.data(), sums.data());
  expect_fault("wait_fault", "asynchronous copy", "ld.shared.v4.u32", vectors.data(), to_vectors.data());
  expect_fault("divergence_fault", "barrier", "bar.sync", to.data());
}

TEST_F(Ptx, finds_kernels) {
  EXPECT_EQ(module().kernel("samples::bounded(int*)").name(), "_ZN7samples7boundedEPi");
  EXPECT_EQ(module().kernel("_ZN7samples7boundedEPi").name(), "_ZN7samples7boundedEPi");
  EXPECT_EQ(module().kernel("bounded").name(), "_ZN7samples7boundedEPi");
  EXPECT_THROW(module().kernel("absent"), std::invalid_argument);
  EXPECT_THROW(module().kernel("multiply"), std::invalid_argument);  // three of them
  EXPECT_THROW(PtxModule("absent.ptx"), std::runtime_error);
  for (const auto& name : module().kernels()) EXPECT_GT(module().kernel(name).instructions(), 0u) << name;
}

TEST_F(Ptx, checks_launches) {
  const auto kernel = module().kernel("bounded");
  Buffer<int> to(65, "to");
  const Launch good{dim3(1), dim3(64), 0}, large{dim3(1), dim3(65), 0};
  EXPECT_NO_THROW(kernel.launch(good, Schedule{}, to.data()));
  EXPECT_THROW(kernel.launch(large, Schedule{}, to.data()), std::invalid_argument);
  EXPECT_THROW(kernel.launch(good, Schedule{}), std::invalid_argument);
  EXPECT_THROW(kernel.launch(good, Schedule{}, to.data(), 1), std::invalid_argument);
  EXPECT_THROW(kernel.launch(good, Schedule{}, 1), std::invalid_argument);
  for (const auto& empty : {Launch{dim3(1), dim3(0), 0}, Launch{dim3(0), dim3(64), 0}}) {
    kernel.launch(empty, Schedule{}, to.data());
    const auto reports = emulator::take_reports();
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_TRUE(reports[0].starts_with("invalid launch: ")) << reports[0];
  }
}

/// A file of PTX that goes when it is no longer needed.
class PtxFile {
 public:
  explicit PtxFile(const std::string& text) : path_(testing::TempDir() + "ptx_test.ptx") {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~PtxFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string with_body(const std::string& body) {
  return ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry kernel(.param .u16 number, .param .u64 to)\n{\n.reg "
         ".pred %p<3>;\n.reg .b32 "
         "%r<5>;\n"
         ".reg .f32 %f<3>;\n.reg .b64 %rd<5>;\n" +
         body + "\nret;\n}\n";
}

/// What samples cannot make nvcc write, instruction by instruction: %r1 after the statements, in every lane of a warp.
TEST_F(Ptx, follows_the_manual) {
  const std::vector<std::pair<std::string, uint32_t>> cases = {
      {"prmt.b32 %r1, 0x80, 0x11223344, 0x8047;", 0xff804411u},
      {"shr.s32 %r1, -8, 40;", ~0u},
      {"shr.u32 %r1, -8, 32;", 0},
      {"shl.b32 %r1, 1, 32;", 0},
      {"shf.l.clamp.b32 %r1, 1, 2, 40;", 1},
      {"shf.r.wrap.b32 %r1, 1, 2, 33;", 0},
      {"bfe.s32 %r1, 0x80000000, 30, 8;", 0xfffffffeu},
      {"div.u32 %r1, 5, 0;", ~0u},
      {"mul.hi.s32 %r1, -2, 3;", ~0u},
      {"mad.hi.s32 %r1, -2, 3, 5;", 4},
      {"mad.wide.u32 %rd1, 0xffffffff, 2, 3; shr.u64 %rd1, %rd1, 1; cvt.u32.u64 %r1, %rd1;", 0},
      {"fma.rn.f32 %f1, 0f3F800800, 0f3F800800, 0fBF801000; mov.b32 %r1, %f1;", 0x33800000},
      {"fma.rn.bf16x2 %r1, 0x40e040e0, 0x42144214, 0x8d800d80;", 0x43814382},
      {"mul.ftz.f32 %f1, 0f00800000, 0f3F000000; mov.b32 %r1, %f1;", 0},
      {"mul.f32 %f1, 0f00800000, 0f3F000000; mov.b32 %r1, %f1;", 0x00400000},
      {"add.ftz.f32 %f1, 0f80000001, 0f80000000; mov.b32 %r1, %f1;", 0x80000000u},
      {"max.f32 %f1, 0f7FC00000, 0f3F800000; mov.b32 %r1, %f1;", 0x3f800000},
      {"max.NaN.f32 %f1, 0f7FC00000, 0f3F800000; mov.b32 %r1, %f1; and.b32 %r1, %r1, 0x7fc00000;", 0x7fc00000},
      {"min.f32 %f1, 0f00000000, 0f80000000; mov.b32 %r1, %f1;", 0x80000000u},
      {"max.f32 %f1, 0f80000000, 0f00000000; mov.b32 %r1, %f1;", 0},
      {"copysign.f32 %f1, 0f80000000, 0f3F800000; mov.b32 %r1, %f1;", 0xbf800000u},
      {"cvt.rn.bf16x2.f32 %r1, 0f3F800000, 0f40000000;", 0x3f804000},
      {"cvt.rn.f16x2.f32 %r1, 0f3F800000, 0f40000000;", 0x3c004000},
      {"cvt.rni.s32.f32 %r1, 0f40200000;", 2},
      {"cvt.rpi.s32.f32 %r1, 0fC0200000;", ~0u - 1},
      {"cvt.rzi.u32.f32 %r1, 0fC0200000;", 0},
      {"cvt.rzi.s32.f32 %r1, 0fFF800000;", 0x80000000u},
      {"cvt.rzi.s32.f32 %r1, 0f7FC00000;", 0},
      {"cvt.sat.s8.s32 %r1, 300;", 127},
      {"cvt.s8.s32 %r1, 255;", ~0u},
      {"cvt.sat.f32.f32 %f1, 0f40000000; mov.b32 %r1, %f1;", 0x3f800000},
      {"setp.eq.u32 %p1, 1, 2; setp.lt.or.u32 %p2, 1, 2, %p1; selp.u32 %r1, 7, 8, %p2;", 7},
      {"setp.eq.u32 %p1, 1, 2; setp.lt.and.u32 %p2, 1, 2, !%p1; selp.u32 %r1, 7, 8, %p2;", 7},
      {"setp.eq.u32 %p1, 1, 1; setp.lt.xor.u32 %p2, 1, 2, %p1; selp.u32 %r1, 7, 8, %p2;", 8},
      {"setp.lt.s32 %p1|%p2, -1, 2; selp.u32 %r1, 7, 8, %p2; @!%p1 mov.u32 %r1, 9;", 8},
      {"setp.hi.u32 %p1, -1, 2; selp.u32 %r1, 7, 8, %p1;", 7},
      {"setp.num.f32 %p1, 0f7FC00000, 0f00000000; selp.u32 %r1, 7, 8, %p1;", 8},
      {"setp.ne.f32 %p1, 0f7FC00000, 0f00000000; selp.u32 %r1, 7, 8, %p1;", 8},
      {"setp.equ.f32 %p1, 0f7FC00000, 0f00000000; selp.u32 %r1, 7, 8, %p1;", 7},
      {"mov.u32 %r2, 1; ts: .branchtargets a, b; brx.idx %r2, ts; a: mov.u32 %r1, 3; bra c; b: mov.u32 %r1, 4; c:", 4},
      {"{ .reg .b32 %r1; mov.u32 %r1, 5; } mov.u32 %r1, 6; { .reg .b32 x; mov.u32 x, 7; add.u32 %r1, %r1, x; }", 13},
      {"mov.u32 %r2, %laneid; setp.lt.u32 %p1, %r2, 4; vote.sync.ballot.b32 %r1, !%p1, -1;", 0xfffffff0u},
      {"setp.lt.u32 %p1, 5, 4; vote.sync.uni.pred %p2, %p1, -1; selp.u32 %r1, 7, 8, %p2;", 7},
      {"mov.u32 %r2, %laneid; redux.sync.min.s32 %r1, %r2, -1; redux.sync.or.b32 %r3, %r2, -1; add.u32 %r1, %r1, %r3;", 31},
      {"mov.u32 %r2, %laneid; shfl.sync.idx.b32 %r1|%p1, %r2, 4, 31, -1; selp.u32 %r1, %r1, 99, %p1;", 4},
      {"mov.b64 %rd1, {1, 2}; mov.b64 {%r2, %r1}, %rd1;", 2},
      {"ld.param.u16 %r1, [number];", 3},
      {".local .align 8 .b8 own[8]; mov.u64 %rd1, own; cvta.local.u64 %rd2, %rd1; st.u32 [%rd2+4], 5; ld.local.u32 %r1, [own+4];",
       5},
      {"mov.u32 %r1, %ntid.x; add.u32 %r1, %r1, WARP_SZ;", 64},
      {"cvta.to.global.u64 %rd1, %rd1; membar.gl; fence.acq_rel.gpu; mov.u32 %r1, 1; ret; mov.u32 %r1, 2;", 0xffffffffu},
  };
  for (const auto& [body, expected] : cases) {
    SCOPED_TRACE(body);
    const PtxFile file(with_body("ld.param.u64 %rd4, [to];\nmov.u32 %r4, %tid.x;\nmad.wide.u32 %rd4, %r4, 4, %rd4;\n" + body +
                                 "\nst.global.u32 [%rd4], %r1;"));
    Buffer<uint32_t> to(32, "to");
    std::memset(to.data(), 0xff, to.size() * sizeof(uint32_t));
    PtxModule(file.path()).kernel("kernel").launch(Launch{dim3(1), dim3(32), 0}, Schedule{}, uint16_t{3}, to.data());
    for (size_t lane = 0; lane < 32; ++lane)
      ASSERT_EQ(to[lane], expected) << std::hex << to[lane] << " in lane " << std::dec << lane;
  }
}

/// What is reported of these statements; %rd1 is the address of 128 bytes.
std::string reports(const std::string& body, unsigned threads = 1) {
  const PtxFile file(with_body(".local .align 4 .b8 own[8];\n.shared .align 4 .b8 tile[8];\nld.param.u64 %rd1, [to];\n" + body));
  Buffer<uint32_t> to(32, "to");
  PtxModule(file.path()).kernel("kernel").launch(Launch{dim3(1), dim3(threads), 0}, Schedule{}, uint16_t{3}, to.data());
  std::string all;
  for (const auto& report : emulator::take_reports()) all += report;
  return all;
}

TEST_F(Ptx, finds_faults_at_generic_and_local_addresses) {
  EXPECT_EQ(reports("st.u32 [%rd1+124], 5; st.local.u32 [own+4], 5;"), "");
  EXPECT_NE(reports("st.u32 [%rd1+128], 5;").find("to"), std::string::npos);
  EXPECT_NE(reports("st.local.u32 [own+8], 5;").find("local memory access out of bounds"), std::string::npos);
  EXPECT_NE(reports("mov.u64 %rd2, -8; ld.local.u64 %rd3, [%rd2];").find("local memory access out of bounds"), std::string::npos);
  EXPECT_NE(reports("trap;").find("traps"), std::string::npos);
}

TEST_F(Ptx, finds_global_accesses_to_shared_memory) {
  for (const std::string instruction :
       {"ld.global.u32 %r1, [ADDRESS];", "st.global.u32 [ADDRESS], 5;", "red.global.add.u32 [ADDRESS], 5;",
        "atom.global.add.u32 %r1, [ADDRESS], 5;", "cp.async.ca.shared.global [tile+4], [ADDRESS], 4;"}) {
    const auto of = [&](const std::string& address) {
      return reports("mov.u64 %rd2, tile; cvta.shared.u64 %rd2, %rd2; st.u32 [%rd2], 5;\n" +
                     std::regex_replace(instruction, std::regex("ADDRESS"), address));
    };
    EXPECT_EQ(of("%rd1"), "");
    const auto found = of("%rd2");
    EXPECT_TRUE(found.starts_with("global access to shared memory at PTX line ")) << instruction << ": " << found;
  }
}

TEST_F(Ptx, finds_lanes_at_different_tensor_core_instructions) {
  const std::string multiply =
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f1, %f2, _}, {0, 0, 0, 0}, {0, 0}, {%f0, %f1, %f2, %f2};\n";
  const auto of = [&](const std::string& lanes) {
    return reports("mov.u32 %r1, %laneid; setp.lt.u32 %p1, %r1, " + lanes + "; @%p1 bra a;\n" + multiply +
                       "bra b;\na: " + multiply + "b: bar.warp.sync -1;",
                   32);
  };
  for (const auto* const same : {"0", "32"}) EXPECT_EQ(of(same), "");
  EXPECT_NE(of("16").find("lanes of one warp meet in different instructions: mma"), std::string::npos);
}

TEST_F(Ptx, refuses_what_it_does_not_know) {
  EXPECT_NO_THROW(PtxModule(PtxFile(with_body("add.u32 %r1, %r2, 3;\nld.param.u64 %rd1, [to];")).path()).kernel("kernel"));
  for (const std::string line : {
           "vadd.u32 %r1, %r2, %r3;",     // opcode
           "add.sat.s32 %r1, %r2, %r3;",  // modifiers
           "add.rz.f32 %f1, %f2, %f2;",
           "fma.rm.f32 %f1, %f2, %f2, %f2;",
           "add.cc.u32 %r1, %r2, %r3;",
           "ld.global.L2::cache_hint.u32 %r1, [%rd1];",
           "cvt.s32.f32 %r1, %f1;",
           "cvt.f16.f32 %r1, %f1;",
           "setp.xx.u32 %p1, %r1, %r2;",
           "div.f32 %f1, %f2, %f2;",
           "prmt.b32.f4e %r1, %r2, %r3, 4;",
           "bar.arrive 0, 64;",
           "shfl.bfly.b32 %r1, %r2, 1, 31;",
           "mma.sync.aligned.m16n8k16.row.row.f32.f16.f16.f32 {%r1}, {%r1}, {%r1}, {%r1};",
           "add.u32.u32 %r1, %r2, %r3;",
           "bra.foo done;",
           "wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1}, [%rd1];",
           "add.u32 %r1, %r2;",
           "add.u32 %r1, %r2, %r3, %r4;",
           "add.u32 %r1, %r2, %r9;",  // operands
           "add.u32 %r1, %r2, absent;",
           "add.u32 3, %r1, %r2;",
           "bra absent;",
           "mov.u32 %r1, %clock;",
           "bar.sync 1;",
           "add.f32 %f1, %f2, 1;",
           "ld.global.v2.u32 {%r1}, [%rd1];",
           "st.param.u32 [to], %r1;",
           "call (%r1), function, (%r2);",
           "@%p9 bra done;",
           "add.u32 %r1, 0x1g, %r2;",
       }) {
    SCOPED_TRACE(line);
    const PtxFile file(with_body(line));
    try {
      PtxModule(file.path()).kernel("kernel");
      ADD_FAILURE() << "accepted";
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find("PTX line 10"), std::string::npos) << error.what();
    }
  }
}

TEST_F(Ptx, refuses_a_broken_file) {
  const auto text = with_body("add.u32 %r1, %r2, 3;");
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    if (length == text.find(".visible") || length + 1 == text.find(".visible")) continue;  // a module without kernels
    const PtxFile file(text.substr(0, length));
    EXPECT_ANY_THROW(PtxModule(file.path()).kernel("kernel")) << length;
  }
  for (const std::string body :
       {"l: l: ret;", ".reg .b32 %r<2>; .reg .b32 %r<2>;", ".unknown 3;", "/* ", "{ ret;", ".shared .b8 name[];"})
    EXPECT_THROW(PtxModule(PtxFile(with_body(body)).path()), std::runtime_error) << body;
}

}  // namespace
