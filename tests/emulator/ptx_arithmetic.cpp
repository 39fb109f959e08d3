#include <algorithm>
#include <array>
#include <bit>

#include "tests/emulator/ptx_numbers.h"

namespace emulator::ptx {
namespace {

// Integers. Each function is given its operands in their own type and returns 64 bits, of which the result's are the low ones.

template <class T, auto Function>
void integer_unary(Thread& t, const Instruction& i) {
  t.set(i, 0, static_cast<T>(Function(t.get<T>(i, 1))));
}
template <class T, auto Function>
void integer_binary(Thread& t, const Instruction& i) {
  t.set(i, 0, static_cast<T>(Function(t.get<T>(i, 1), t.get<T>(i, 2))));
}
template <class T, auto Function>
void integer_ternary(Thread& t, const Instruction& i) {
  t.set(i, 0, static_cast<T>(Function(t.get<T>(i, 1), t.get<T>(i, 2), t.get<T>(i, 3))));
}

__extension__ using Signed128 = __int128;
__extension__ using Unsigned128 = unsigned __int128;

template <class T>
uint64_t wide(T value) {
  return static_cast<uint64_t>(value);
}

constexpr auto kAdd = [](auto a, auto b) { return wide(a) + wide(b); };
constexpr auto kSubtract = [](auto a, auto b) { return wide(a) - wide(b); };
constexpr auto kMultiply = [](auto a, auto b) { return wide(a) * wide(b); };
constexpr auto kMultiplyHigh = [](auto a, auto b) {
  using Product = std::conditional_t<std::is_signed_v<decltype(a)>, Signed128, Unsigned128>;
  return static_cast<uint64_t>(static_cast<Product>(a) * static_cast<Product>(b) >> (8 * sizeof a));
};
constexpr auto kMultiplyAdd = [](auto a, auto b, auto c) { return wide(a) * wide(b) + wide(c); };
constexpr auto kMultiplyHighAdd = [](auto a, auto b, auto c) { return kMultiplyHigh(a, b) + wide(c); };
constexpr auto kDivide = [](auto a, auto b) {
  if (b == 0) return ~uint64_t{0};
  if (std::is_signed_v<decltype(b)> && wide(b) == ~uint64_t{0}) return 0 - wide(a);  // the host traps on the smallest number
  return wide(a / b);
};
constexpr auto kRemainder = [](auto a, auto b) {
  if (b == 0) return wide(a);
  if (std::is_signed_v<decltype(b)> && wide(b) == ~uint64_t{0}) return uint64_t{0};
  return wide(a % b);
};
constexpr auto kMin = [](auto a, auto b) { return wide(std::min(a, b)); };
constexpr auto kMax = [](auto a, auto b) { return wide(std::max(a, b)); };
constexpr auto kAnd = [](auto a, auto b) { return wide(a) & wide(b); };
constexpr auto kOr = [](auto a, auto b) { return wide(a) | wide(b); };
constexpr auto kXor = [](auto a, auto b) { return wide(a) ^ wide(b); };
constexpr auto kNot = [](auto a) { return ~wide(a); };
constexpr auto kNegate = [](auto a) { return 0 - wide(a); };
constexpr auto kAbsolute = [](auto a) { return a < 0 ? 0 - wide(a) : wide(a); };
constexpr auto kReverse = [](auto a) {
  uint64_t reversed = 0;
  for (size_t bit = 0; bit < 8 * sizeof a; ++bit) reversed |= (wide(a) >> bit & 1) << (8 * sizeof a - 1 - bit);
  return reversed;
};

template <auto Function>
void decode_unary(Decoder& d, Type type) {
  d.expect_operands(2);
  d.emit(for_integer(type, []<class T>() -> Handler { return integer_unary<T, Function>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1))});
}
template <auto Function>
void decode_binary(Decoder& d, Type type) {
  d.expect_operands(3);
  d.emit(for_integer(type, []<class T>() -> Handler { return integer_binary<T, Function>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2))});
}
template <auto Function>
void decode_ternary(Decoder& d, Type type) {
  d.expect_operands(4);
  d.emit(for_integer(type, []<class T>() -> Handler { return integer_ternary<T, Function>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3))});
}
template <auto Function>
void decode_bits(Decoder& d) {
  decode_binary<Function>(d, d.take_type());
}

/// mul.wide and mad.wide: the product, and c, have twice the bits.
template <class T, bool Add>
void multiply_wide(Thread& t, const Instruction& i) {
  const auto product = wide(t.get<T>(i, 1)) * wide(t.get<T>(i, 2));
  if constexpr (sizeof(T) == 2) {
    t.set(i, 0, static_cast<uint32_t>(product + (Add ? t.get<uint32_t>(i, 3) : 0)));
  } else {
    t.set(i, 0, product + (Add ? t.get<uint64_t>(i, 3) : 0));
  }
}

template <bool Add>
void decode_multiply_wide(Decoder& d, Type type) {
  d.expect_operands(Add ? 4 : 3);
  std::vector slots = {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2))};
  if (Add) slots.push_back(d.source(d.operand(3)));
  if (type.bits != 16 && type.bits != 32) d.fail("unsupported type");
  d.emit(for_integer(type, []<class T>() -> Handler { return multiply_wide<T, Add>; }), slots);
}

/// Shifts by more than the bits there are give what shifting by all of them gives.
template <class T, bool Left>
void shift(Thread& t, const Instruction& i) {
  const T value = t.get<T>(i, 1);
  const auto count = t.get<uint32_t>(i, 2), bits = static_cast<uint32_t>(8 * sizeof(T));
  if (count >= bits) return t.set(i, 0, static_cast<T>(!Left && value < 0 ? -1 : 0));
  t.set(i, 0, Left ? static_cast<T>(wide(value) << count) : static_cast<T>(value >> count));
}

template <bool Left>
void decode_shift(Decoder& d) {
  d.expect_operands(3);
  d.emit(for_integer(d.take_type(), []<class T>() -> Handler { return shift<T, Left>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2))});
}

/// shf: 32 bits out of 64, b:a.
template <bool Left, bool Wrap>
void funnel_shift(Thread& t, const Instruction& i) {
  const auto both = uint64_t{t.get<uint32_t>(i, 2)} << 32 | t.get<uint32_t>(i, 1);
  const auto count = Wrap ? t.get<uint32_t>(i, 3) & 31 : std::min(t.get<uint32_t>(i, 3), 32u);
  t.set(i, 0, static_cast<uint32_t>(Left ? both >> (32 - count) : both >> count));
}

void decode_funnel_shift(Decoder& d) {
  static constexpr std::array<std::array<Handler, 2>, 2> kHandlers = {
      {{funnel_shift<true, true>, funnel_shift<true, false>}, {funnel_shift<false, true>, funnel_shift<false, false>}}};
  d.expect_operands(4);
  const auto direction = static_cast<size_t>(d.take_one_of({"l", "r"})),
             mode = static_cast<size_t>(d.take_one_of({"wrap", "clamp"}));
  if (d.take_type() != Type{Type::Kind::Bits, 32}) d.fail("unsupported type");
  d.emit(kHandlers[direction][mode],
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3))});
}

void permute_bytes(Thread& t, const Instruction& i) {
  const auto bytes = uint64_t{t.get<uint32_t>(i, 2)} << 32 | t.get<uint32_t>(i, 1);
  const auto selector = t.get<uint32_t>(i, 3);
  uint32_t result = 0;
  for (int n = 0; n < 4; ++n) {
    const auto select = selector >> (4 * n);
    const auto byte = static_cast<uint8_t>(bytes >> (8 * (select & 7)));
    result |= static_cast<uint32_t>(select & 8 ? (byte & 0x80 ? 0xff : 0) : byte) << (8 * n);
  }
  t.set(i, 0, result);
}

template <class T>
void extract_bits(Thread& t, const Instruction& i) {
  const T value = t.get<T>(i, 1);
  const int bits = 8 * sizeof(T), position = t.get<uint8_t>(i, 2), length = t.get<uint8_t>(i, 3);
  const bool sign = length > 0 && (value >> std::min(position + length - 1, bits - 1) & 1);
  const auto filling = std::is_signed_v<T> && sign ? ~uint64_t{0} : 0;
  const auto field = position < bits ? static_cast<std::make_unsigned_t<T>>(value) >> position : 0;
  const auto mask = length < 64 ? (uint64_t{1} << length) - 1 : ~uint64_t{0};
  const int inside = std::min(length, std::max(bits - position, 0));
  const auto valid = inside < 64 ? (uint64_t{1} << inside) - 1 : ~uint64_t{0};
  t.set(i, 0, static_cast<T>((field & mask & valid) | (filling & ~valid)));
}

template <class T>
void insert_bits(Thread& t, const Instruction& i) {
  const int bits = 8 * sizeof(T), position = t.get<uint8_t>(i, 3), length = t.get<uint8_t>(i, 4);
  const auto field = length < 64 ? (uint64_t{1} << length) - 1 : ~uint64_t{0};
  const auto mask = position < bits ? field << position : 0;
  const auto value = position < bits ? wide(t.get<T>(i, 1)) << position : 0;
  t.set(i, 0, static_cast<T>((value & mask) | (t.get<T>(i, 2) & ~mask)));
}

void lookup(Thread& t, const Instruction& i) {
  const auto a = t.get<uint32_t>(i, 1), b = t.get<uint32_t>(i, 2), c = t.get<uint32_t>(i, 3);
  uint32_t result = 0;
  for (int row = 0; row < 8; ++row)
    if (i.constant >> row & 1) result |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
  t.set(i, 0, result);
}

template <class T, bool Ones>
void count_bits(Thread& t, const Instruction& i) {
  const auto value = t.get<std::make_unsigned_t<T>>(i, 1);
  t.set(i, 0, static_cast<uint32_t>(Ones ? std::popcount(value) : std::countl_zero(value)));
}

template <bool Ones>
void decode_count(Decoder& d) {
  d.expect_operands(2);
  d.emit(for_integer(d.take_type(), []<class T>() -> Handler { return count_bits<T, Ones>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1))});
}

void decode_permute(Decoder& d) {
  d.expect_operands(4);
  if (d.take_type() != Type{Type::Kind::Bits, 32}) d.fail("unsupported type");
  d.emit(permute_bytes, {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3))});
}
void decode_lookup(Decoder& d) {
  d.expect_operands(5);
  if (d.take_type() != Type{Type::Kind::Bits, 32}) d.fail("unsupported type");
  d.emit(lookup, {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3))},
         static_cast<int64_t>(d.integer(d.operand(4))));
}
void decode_extract(Decoder& d) {
  d.expect_operands(4);
  d.emit(for_integer(d.take_type(), []<class T>() -> Handler { return extract_bits<T>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3))});
}
void decode_insert(Decoder& d) {
  d.expect_operands(5);
  d.emit(for_integer(d.take_type(), []<class T>() -> Handler { return insert_bits<T>; }),
         {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2)), d.source(d.operand(3)),
          d.source(d.operand(4))});
}

// Floating-point numbers.

/// Function<Number>(values…) on every lane of the operands.
template <class Number, int Lanes, int Operands, class Function>
void float_operation(Thread& t, const Instruction& i) {
  using Registers = std::array<typename Number::Bits, Lanes>;
  std::array<Registers, Operands> operands;
  for (int n = 0; n < Operands; ++n) operands[n] = t.get<Registers>(i, n + 1);
  Registers result;
  for (int lane = 0; lane < Lanes; ++lane) result[lane] = [&]<size_t... N>(std::index_sequence<N...>) {
      return Number::encode(Function::template apply<Number>(Number::decode(operands[N][lane])...));
    }
  (std::make_index_sequence<Operands>());
  t.set(i, 0, result);
}

template <class Function, int Operands>
void decode_float(Decoder& d, Type type, bool flush) {
  d.expect_operands(Operands + 1);
  std::vector<uint32_t> slots = {d.destination(d.operand(0))};
  for (int n = 1; n <= Operands; ++n) slots.push_back(d.source(d.operand(static_cast<size_t>(n)), type));
  d.emit(for_float(type, flush,
                   [&]<class Number>() -> Handler {
                     if constexpr (sizeof(typename Number::Bits) == 2)
                       if (type.lanes == 2) return float_operation<Number, 2, Operands, Function>;
                     return float_operation<Number, 1, Operands, Function>;
                   }),
         std::move(slots));
}

// clang-format off
struct Add { template <class N, class V> static V apply(V a, V b) { return N::add(a, b); } };
struct Subtract { template <class N, class V> static V apply(V a, V b) { return N::add(a, -b); } };
struct Multiply { template <class N, class V> static V apply(V a, V b) { return a * b; } };
struct Divide { template <class N, class V> static V apply(V a, V b) { return a / b; } };
struct Fma { template <class N, class V> static V apply(V a, V b, V c) { return N::fma(a, b, c); } };
struct CopySign { template <class N, class V> static V apply(V sign, V value) { return std::copysign(value, sign); } };
struct Negate { template <class N, class V> static V apply(V a) { return -a; } };
struct Absolute { template <class N, class V> static V apply(V a) { return std::fabs(a); } };
struct Reciprocal { template <class N, class V> static V apply(V a) { return V(1) / a; } };
struct SquareRoot { template <class N, class V> static V apply(V a) { return std::sqrt(a); } };
struct ReciprocalRoot { template <class N, class V> static V apply(V a) { return V(1) / std::sqrt(a); } };
struct Exp2 { template <class N, class V> static V apply(V a) { return std::exp2(a); } };
struct Log2 { template <class N, class V> static V apply(V a) { return std::log2(a); } };
struct Sine { template <class N, class V> static V apply(V a) { return std::sin(a); } };
struct Cosine { template <class N, class V> static V apply(V a) { return std::cos(a); } };
struct Tanh { template <class N, class V> static V apply(V a) { return std::tanh(a); } };
// clang-format on

/// The other operand of a NaN (unless .NaN), and −0 < +0.
template <bool Max, bool Nan>
struct Extreme {
  template <class N, class V>
  static V apply(V a, V b) {
    if (std::isnan(a) || std::isnan(b))
      return Nan || (std::isnan(a) && std::isnan(b)) ? std::numeric_limits<V>::quiet_NaN() : std::isnan(a) ? b : a;
    if (a == b) return std::signbit(a) == Max ? b : a;
    return (a > b) == Max ? a : b;
  }
};

/// What the GPU may only approximate is computed as well as the host can.
template <class Function, bool MayBeRounded>
void decode_inexact(Decoder& d) {
  if (!MayBeRounded || !d.take("rn")) d.take_one_of({"approx"});
  const bool flush = d.take("ftz");
  decode_float<Function, 1>(d, d.take_type(), flush);
}

/// Opcodes for integers and for floats.
template <class Float, auto Integer>
void decode_add(Decoder& d) {
  const auto type = d.take_type();
  if (!type.is_float()) return decode_binary<Integer>(d, type);
  d.take("rn");
  decode_float<Float, 2>(d, type, d.take("ftz"));
}

void decode_multiply(Decoder& d) {
  const auto type = d.take_type();
  if (type.is_float()) {
    d.take("rn");
    return decode_float<Multiply, 2>(d, type, d.take("ftz"));
  }
  switch (d.take_one_of({"lo", "hi", "wide"})) {
    case 0:
      return decode_binary<kMultiply>(d, type);
    case 1:
      return decode_binary<kMultiplyHigh>(d, type);
    default:
      return decode_multiply_wide<false>(d, type);
  }
}

void decode_multiply_add(Decoder& d) {
  const auto type = d.take_type();
  if (type.is_float()) {
    d.take_one_of({"rn"});
    return decode_float<Fma, 3>(d, type, d.take("ftz"));
  }
  const auto part = d.take_one_of({"lo", "hi", "wide"});
  if (part == 2) return decode_multiply_wide<true>(d, type);
  part == 0 ? decode_ternary<kMultiplyAdd>(d, type) : decode_ternary<kMultiplyHighAdd>(d, type);
}

template <bool Max, auto Integer>
void decode_extreme(Decoder& d) {
  const auto type = d.take_type();
  if (!type.is_float()) return decode_binary<Integer>(d, type);
  const bool flush = d.take("ftz");
  d.take("NaN") ? decode_float<Extreme<Max, true>, 2>(d, type, flush) : decode_float<Extreme<Max, false>, 2>(d, type, flush);
}

template <class Float, auto Integer>
void decode_sign(Decoder& d) {
  const auto type = d.take_type();
  type.is_float() ? decode_float<Float, 1>(d, type, d.take("ftz")) : decode_unary<Integer>(d, type);
}

void decode_divide(Decoder& d) {
  const auto rounding = d.take_one_of({"rn", "approx", "full"}, false);
  const auto type = d.take_type();
  if (type.is_float() != (rounding >= 0)) d.fail("a rounding mode is missing or too many");
  type.is_float() ? decode_float<Divide, 2>(d, type, d.take("ftz")) : decode_binary<kDivide>(d, type);
}

}  // namespace

const Opcodes& arithmetic_opcodes() {
  static const Opcodes kOpcodes = {
      {"add", decode_add<Add, kAdd>},
      {"sub", decode_add<Subtract, kSubtract>},
      {"mul", decode_multiply},
      {"mad", decode_multiply_add},
      {"fma", decode_multiply_add},
      {"div", decode_divide},
      {"rem", decode_bits<kRemainder>},
      {"min", decode_extreme<false, kMin>},
      {"max", decode_extreme<true, kMax>},
      {"and", decode_bits<kAnd>},
      {"or", decode_bits<kOr>},
      {"xor", decode_bits<kXor>},
      {"not", [](Decoder& d) { decode_unary<kNot>(d, d.take_type()); }},
      {"neg", decode_sign<Negate, kNegate>},
      {"abs", decode_sign<Absolute, kAbsolute>},
      {"brev", [](Decoder& d) { decode_unary<kReverse>(d, d.take_type()); }},
      {"shl", decode_shift<true>},
      {"shr", decode_shift<false>},
      {"shf", decode_funnel_shift},
      {"prmt", decode_permute},
      {"lop3", decode_lookup},
      {"bfe", decode_extract},
      {"bfi", decode_insert},
      {"popc", decode_count<true>},
      {"clz", decode_count<false>},
      {"copysign", [](Decoder& d) { decode_float<CopySign, 2>(d, d.take_type(), false); }},
      {"rcp", decode_inexact<Reciprocal, true>},
      {"sqrt", decode_inexact<SquareRoot, true>},
      {"rsqrt", decode_inexact<ReciprocalRoot, false>},
      {"ex2", decode_inexact<Exp2, false>},
      {"lg2", decode_inexact<Log2, false>},
      {"sin", decode_inexact<Sine, false>},
      {"cos", decode_inexact<Cosine, false>},
      {"tanh", decode_inexact<Tanh, false>},
  };
  return kOpcodes;
}

}  // namespace emulator::ptx
