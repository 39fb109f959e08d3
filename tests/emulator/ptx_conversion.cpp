#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "tests/emulator/ptx_numbers.h"

/// cvt, mov, selp, setp and cvta.
namespace emulator::ptx {
namespace {

template <class From, class To>
void integer_to_integer(Thread& t, const Instruction& i) {
  auto value = t.get<From>(i, 1);
  if (i.constant) {  // .sat
    if (std::cmp_less(value, std::numeric_limits<To>::min())) value = static_cast<From>(std::numeric_limits<To>::min());
    if (std::cmp_greater(value, std::numeric_limits<To>::max())) value = static_cast<From>(std::numeric_limits<To>::max());
  }
  t.set(i, 0, static_cast<uint64_t>(static_cast<To>(value)));
}

template <class From, class Number>
void integer_to_float(Thread& t, const Instruction& i) {
  t.set(i, 0, Number::encode(static_cast<typename Number::Value>(t.get<From>(i, 1))));
}

enum Rounding { kNearestEven, kTowardsZero, kDown, kUp };

template <class Value>
Value round_to_integer(Value value, int64_t rounding) {
  switch (rounding) {
    case kNearestEven:
      return std::nearbyint(value);
    case kTowardsZero:
      return std::trunc(value);
    case kDown:
      return std::floor(value);
    default:
      return std::ceil(value);
  }
}

/// Clamped to what the integer can hold; a NaN is 0.
template <class Number, class To>
void float_to_integer(Thread& t, const Instruction& i) {
  using Value = typename Number::Value;
  const auto value = round_to_integer(Number::decode(t.get<typename Number::Bits>(i, 1)), i.constant);
  const auto lowest = static_cast<Value>(std::numeric_limits<To>::min());
  const auto end = std::ldexp(Value(1), std::numeric_limits<To>::digits);
  const To result = std::isnan(value) ? To{0}
                    : value < lowest  ? std::numeric_limits<To>::min()
                    : value >= end    ? std::numeric_limits<To>::max()
                                      : static_cast<To>(value);
  t.set(i, 0, static_cast<uint64_t>(result));
}

constexpr int64_t kSaturate = 1;

template <class From, class To>
void float_to_float(Thread& t, const Instruction& i) {
  auto value = static_cast<typename To::Value>(From::decode(t.get<typename From::Bits>(i, 1)));
  if (i.constant == kSaturate) value = value > 0 ? std::min(value, typename To::Value(1)) : 0;
  t.set(i, 0, To::encode(value));
}

template <class Number>
void float_to_whole(Thread& t, const Instruction& i) {
  t.set(i, 0, Number::encode(round_to_integer(Number::decode(t.get<typename Number::Bits>(i, 1)), i.constant)));
}

/// cvt.rn.bf16x2.f32 d, a, b: a in the upper half.
template <class Number>
void floats_to_pair(Thread& t, const Instruction& i) {
  t.set(i, 0, std::array{Number::encode(t.get<float>(i, 2)), Number::encode(t.get<float>(i, 1))});
}

/// Ties away from zero, on the bits: 13 of them go.
void float_to_tf32(Thread& t, const Instruction& i) {
  const auto bits = t.get<uint32_t>(i, 1);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  t.set(i, 0, finite ? (bits + 0x1000u) & ~0x1fffu : bits);
}

void decode_float_to_float(Decoder& d, Type to, Type from, bool flush, std::vector<uint32_t> slots) {
  const auto whole = d.take_one_of({"rni", "rzi", "rmi", "rpi"}, false);
  const bool saturate = d.take("sat"), rounded = d.take("rn");
  if (whole >= 0) {
    if (to != from || saturate || rounded) d.fail("unsupported rounding");
    return d.emit(for_float(to, flush, []<class Number>() -> Handler { return float_to_whole<Number>; }), slots, whole);
  }
  if (to.bits < from.bits && !rounded) d.fail("a rounding mode is missing");
  if (saturate && to.bits != 32) d.fail("unsupported type");
  const auto single = [](Type type) { return type.bits == 32; };
  d.emit(for_float(from, flush && single(from),
                   [&]<class From>() -> Handler {
                     return for_float(to, flush && single(to), []<class To>() -> Handler { return float_to_float<From, To>; });
                   }),
         slots, saturate ? kSaturate : 0);
}

void decode_pair(Decoder& d, Type to, Type from) {
  d.expect_operands(3);
  d.take_one_of({"rn"});
  if (from != Type{Type::Kind::Float, 32}) d.fail("unsupported type");
  d.emit(to.kind == Type::Kind::BFloat ? floats_to_pair<BFloat> : floats_to_pair<Half>,
         {d.destination(d.operand(0)), d.source(d.operand(1), from), d.source(d.operand(2), from)});
}

void decode_convert(Decoder& d) {
  const auto to = d.take_type(), from = d.take_type();
  if (to.lanes == 2) return decode_pair(d, to, from);
  d.expect_operands(2);
  const std::vector slots = {d.destination(d.operand(0)), d.source(d.operand(1), from)};
  if (to.kind == Type::Kind::Tf32) {
    d.take_one_of({"rna"});
    return d.emit(from == Type{Type::Kind::Float, 32} ? float_to_tf32 : nullptr, slots);
  }
  const bool flush = d.take("ftz");
  if (to.is_float() && from.is_float()) return decode_float_to_float(d, to, from, flush, slots);
  if (to.is_float()) {
    d.take_one_of({"rn"});
    if (from.bits > 32 && to.bits == 16) d.fail("unsupported type");
    return d.emit(for_integer(from,
                              [&]<class From>() -> Handler {
                                return for_float(to, flush, []<class To>() -> Handler { return integer_to_float<From, To>; });
                              }),
                  slots);
  }
  if (from.is_float()) {
    const auto rounding = d.take_one_of({"rni", "rzi", "rmi", "rpi"});
    return d.emit(for_float(from, flush,
                            [&]<class From>() -> Handler {
                              return for_integer(to, []<class To>() -> Handler { return float_to_integer<From, To>; });
                            }),
                  slots, rounding);
  }
  if (flush) d.fail("unsupported modifier '.ftz'");
  d.emit(for_integer(from,
                     [&]<class From>() -> Handler {
                       return for_integer(to, []<class To>() -> Handler { return integer_to_integer<From, To>; });
                     }),
         slots, d.take("sat"));
}

// mov

template <class T>
void move(Thread& t, const Instruction& i) {
  t.set(i, 0, t.get<T>(i, 1));
}

/// {a, b, …} from one register, or the reverse; T is an element.
template <class T, int Count>
void unpack(Thread& t, const Instruction& i) {
  const auto parts = t.get<std::array<T, Count>>(i, Count);
  for (int n = 0; n < Count; ++n) t.set(i, n, parts[n]);
}
template <class T, int Count>
void pack(Thread& t, const Instruction& i) {
  std::array<T, Count> parts;
  for (int n = 0; n < Count; ++n) parts[n] = t.get<T>(i, n + 1);
  t.set(i, 0, parts);
}

void decode_move(Decoder& d) {
  using Kind = Operand::Kind;
  d.expect_operands(2);
  auto type = d.take_type();
  const bool unpacks = d.operand(0).kind == Kind::Vector, packs = d.operand(1).kind == Kind::Vector;
  auto slots = d.vector(d.operand(0), true);
  for (const auto slot : d.vector(d.operand(1), false, packs ? Type{} : type)) slots.push_back(slot);
  if (!unpacks && !packs) {
    if (type.is_float()) type.kind = Type::Kind::Bits;
    return d.emit(for_integer(type, []<class T>() -> Handler { return move<T>; }), slots);
  }
  if (type.kind != Type::Kind::Bits || unpacks == packs) d.fail("unsupported vector");
  const auto count = static_cast<int>(slots.size()) - 1;
  Handler handler = nullptr;
  if (type.bits == 32 && count == 2) handler = packs ? pack<uint16_t, 2> : unpack<uint16_t, 2>;
  if (type.bits == 64 && count == 2) handler = packs ? pack<uint32_t, 2> : unpack<uint32_t, 2>;
  if (type.bits == 64 && count == 4) handler = packs ? pack<uint16_t, 4> : unpack<uint16_t, 4>;
  if (type.bits == 16 && count == 2) handler = packs ? pack<uint8_t, 2> : unpack<uint8_t, 2>;
  if (type.bits == 32 && count == 4) handler = packs ? pack<uint8_t, 4> : unpack<uint8_t, 4>;
  d.emit(handler, slots);
}

// setp and selp

enum Comparison { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kNumbers, kNever };
enum Combination { kAlone, kAnd, kOr, kXor };

/// What setp tests, in an instruction's constant.
struct Test {
  uint8_t comparison, combination;
  bool or_nan;   ///< true as well if an operand is a NaN
  bool negated;  ///< combines with !c
};

template <class Value>
bool compare(Value a, Value b, int comparison) {
  switch (comparison) {
    case kEqual:
      return a == b;
    case kNotEqual:
      return a < b || a > b;
    case kLess:
      return a < b;
    case kLessEqual:
      return a <= b;
    case kGreater:
      return a > b;
    case kGreaterEqual:
      return a >= b;
    case kNumbers:
      return a == a && b == b;
    default:
      return false;
  }
}

bool combine(bool result, const Thread& t, const Instruction& i, const Test& test) {
  const bool c = t.predicate(i, 4) != test.negated;
  switch (test.combination) {
    case kAnd:
      return result && c;
    case kOr:
      return result || c;
    case kXor:
      return result != c;
    default:
      return result;
  }
}

/// Slots: p, q = !p, a, b, c.
template <class Number>
void set_predicate(Thread& t, const Instruction& i) {
  const auto test = std::bit_cast<Test>(static_cast<uint32_t>(i.constant));
  const auto a = Number::decode(t.get<typename Number::Bits>(i, 2)), b = Number::decode(t.get<typename Number::Bits>(i, 3));
  const bool result = compare(a, b, test.comparison) || (test.or_nan && (a != a || b != b));
  const bool p = combine(result, t, i, test), q = combine(!result, t, i, test);
  t.set<uint64_t>(i, 1, q);
  t.set<uint64_t>(i, 0, p);
}

Test take_test(Decoder& d, bool is_float) {
  Test test{};
  auto comparison = d.take_one_of({"eq", "ne", "lt", "le", "gt", "ge"}, false);
  if (comparison < 0 && !is_float) {
    comparison = d.take_one_of({"lo", "ls", "hi", "hs"}, true) + kLess;
  } else if (comparison < 0) {
    comparison = d.take_one_of({"equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"}, true);
    test.or_nan = comparison != kNumbers;  // "nan" stands where kNever does
  }
  test.comparison = static_cast<uint8_t>(comparison);
  test.combination = static_cast<uint8_t>(d.take_one_of({"and", "or", "xor"}, false) + 1);
  return test;
}

void decode_set_predicate(Decoder& d) {
  const auto type = d.take_type();
  auto test = take_test(d, type.is_float());
  d.expect_operands(test.combination == kAlone ? 3 : 4);
  const auto& to = d.operand(0);
  const bool pair = to.kind == Operand::Kind::Pair;
  std::vector slots = {d.destination(pair ? to.parts[0] : to), pair ? d.destination(to.parts[1]) : d.nowhere(),
                       d.source(d.operand(1), type), d.source(d.operand(2), type)};
  slots.push_back(test.combination == kAlone ? slots[0] : d.predicate(d.operand(3), test.negated));
  const auto constant = std::bit_cast<uint32_t>(test);
  if (type.lanes != 1 || type.kind == Type::Kind::Predicate) d.fail("unsupported type");
  const bool flush = d.take("ftz");
  if (type.is_float())
    return d.emit(for_float(type, flush, []<class Number>() -> Handler { return set_predicate<Number>; }), slots, constant);
  if (flush) d.fail("unsupported modifier '.ftz'");
  d.emit(for_integer(type, []<class T>() -> Handler { return set_predicate<Native<T>>; }), slots, constant);
}

template <class T>
void select(Thread& t, const Instruction& i) {
  t.set(i, 0, t.get<T>(i, t.predicate(i, 3) ? 1 : 2));
}

void decode_select(Decoder& d) {
  d.expect_operands(4);
  auto type = d.take_type();
  const std::vector slots = {d.destination(d.operand(0)), d.source(d.operand(1), type), d.source(d.operand(2), type),
                             d.source(d.operand(3))};
  if (type.is_float()) type.kind = Type::Kind::Bits;
  d.emit(for_integer(type, []<class T>() -> Handler { return select<T>; }), slots);
}

// cvta: all but shared and parameter addresses are generic ones.

/// From the space whose offset 0 is at Base, or (the constant is true) to it.
template <unsigned char* Thread::*Base>
void convert_address(Thread& t, const Instruction& i) {
  const auto base = reinterpret_cast<uintptr_t>(t.*Base), address = t.get<uint64_t>(i, 1);
  t.set(i, 0, i.constant ? address - base : address + base);
}

void decode_convert_address(Decoder& d) {
  d.expect_operands(2);
  const bool to = d.take("to");
  const auto space = d.take_one_of({"shared", "shared::cta", "param", "global", "local", "const"});
  if (d.take_type() != Type{Type::Kind::Unsigned, 64}) d.fail("unsupported type");
  const auto handler = space < 2    ? convert_address<&Thread::shared>
                       : space == 2 ? convert_address<&Thread::parameters>
                                    : move<uint64_t>;
  d.emit(handler, {d.destination(d.operand(0)), d.source(d.operand(1))}, to);
}

}  // namespace

const Opcodes& conversion_opcodes() {
  static const Opcodes kOpcodes = {{"cvt", decode_convert},
                                   {"mov", decode_move},
                                   {"setp", decode_set_predicate},
                                   {"selp", decode_select},
                                   {"cvta", decode_convert_address}};
  return kOpcodes;
}

}  // namespace emulator::ptx
