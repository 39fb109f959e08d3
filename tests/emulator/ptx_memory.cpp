#include <algorithm>
#include <array>

#include "tests/emulator/ptx_numbers.h"

/// Loads, stores, atomics, cp.async and ldmatrix.
namespace emulator::ptx {
namespace {

enum class Space { Global, Shared, Local, Parameter, Generic };

bool inside(const unsigned char* pointer, size_t size, const unsigned char* memory, size_t bytes) {
  const auto offset = reinterpret_cast<uintptr_t>(pointer) - reinterpret_cast<uintptr_t>(memory);
  return offset < bytes && size <= bytes - offset;
}

bool in_own_memory(const Thread& t, const unsigned char* pointer, size_t size) {
  return inside(pointer, size, t.local, t.program->local_bytes) ||
         inside(pointer, size, t.parameters, t.program->parameter_bytes);
}

/// The address in an operand; nullptr, after a report, if it is certain to be outside the space.
template <Space In>
unsigned char* locate(const Thread& t, const Instruction& i, int operand, size_t size, int64_t offset) {
  const auto address = t.get<uint64_t>(i, operand) + static_cast<uint64_t>(offset);
  if constexpr (In == Space::Shared) {
    auto* const pointer = t.shared + static_cast<uint32_t>(address);
    if (inside(pointer, size, t.shared, t.shared_bytes)) return pointer;
    device::report("shared memory access out of bounds", t.program->place(i));
    return nullptr;
  } else if constexpr (In == Space::Local || In == Space::Parameter) {
    auto* const pointer = In == Space::Local ? reinterpret_cast<unsigned char*>(address) : t.parameters + address;
    if (in_own_memory(t, pointer, size)) return pointer;
    device::report("local memory access out of bounds", t.program->place(i));
    return nullptr;
  } else {
    return reinterpret_cast<unsigned char*>(address);
  }
}

/// The same for an access, which the checker is told of.
template <Space In>
unsigned char* access(const Thread& t, const Instruction& i, int operand, size_t size, device::Access kind, int64_t offset) {
  auto* const pointer = locate<In>(t, i, operand, size, offset);
  if (!pointer || In == Space::Local || In == Space::Parameter) return pointer;
  if (In == Space::Generic && in_own_memory(t, pointer, size)) return pointer;
  const auto place = t.program->place(i);
  if (In == Space::Global) device::expect_global(pointer, place);
  device::touch(pointer, size, kind, place, size);
  return pointer;
}

/// Values shorter than the register are extended; what cannot be read is all ones, a NaN.
template <class T, int Count, Space In>
void load(Thread& t, const Instruction& i) {
  std::array<T, Count> values;
  values.fill(static_cast<T>(-1));
  if (const auto* from = access<In>(t, i, Count, sizeof values, device::Access::Read, i.constant))
    device::copy_unchecked(values.data(), from, sizeof values);
  for (int n = 0; n < Count; ++n) t.set(i, n, static_cast<uint64_t>(values[n]));
}

template <class T, int Count, Space In>
void store(Thread& t, const Instruction& i) {
  std::array<T, Count> values;
  for (int n = 0; n < Count; ++n) values[n] = t.get<T>(i, n);
  if (auto* to = access<In>(t, i, Count, sizeof values, device::Access::Write, i.constant))
    device::copy_unchecked(to, values.data(), sizeof values);
}

/// make<In>() for the space that the modifiers name.
template <class Make>
Handler for_space(Decoder& d, const Make& make) {
  switch (d.take_one_of({"global", "const", "shared", "shared::cta", "local", "param"}, false)) {
    case 0:
    case 1:
      return make.template operator()<Space::Global>();
    case 2:
    case 3:
      return make.template operator()<Space::Shared>();
    case 4:
      return make.template operator()<Space::Local>();
    case 5:
      return make.template operator()<Space::Parameter>();
    default:
      return make.template operator()<Space::Generic>();
  }
}

/// Hints to caches, and orders: the emulator's memory is coherent and in order.
void skip_hints(Decoder& d, bool load) {
  if (load) d.take("nc");
  if (!d.take("volatile")) {
    load ? d.take_one_of({"weak", "relaxed", "acquire"}, false) : d.take_one_of({"weak", "relaxed", "release"}, false);
    d.take_one_of({"cta", "gpu", "sys"}, false);
  }
  load ? d.take_one_of({"ca", "cg", "cs", "lu", "cv"}, false) : d.take_one_of({"wb", "cg", "cs", "wt"}, false);
  d.take_one_of({"L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"}, false);
  d.take_one_of({"L2::64B", "L2::128B", "L2::256B"}, false);
}

template <bool Load>
void decode_access(Decoder& d) {
  d.expect_operands(2);
  skip_hints(d, Load);
  const auto lanes = d.take_one_of({"v2", "v4"}, false);
  const auto count = lanes < 0 ? 1u : lanes == 0 ? 2u : 4u;
  const auto type = d.take_type();
  auto slots = d.vector(d.operand(Load ? 0 : 1), Load, type);
  if (slots.size() != count || type.lanes != 1 || type.bits < 8 || count * type.bytes() > 16)
    d.fail("unsupported vector or type");
  int64_t offset = 0;
  slots.push_back(d.address(d.operand(Load ? 1 : 0), offset));
  const Type stored{type.is_float() ? Type::Kind::Bits : type.kind, type.bits};
  const auto handler = for_space(d, [&]<Space In>() -> Handler {
    if (!Load && In == Space::Parameter) return nullptr;
    return for_integer(stored, [&]<class T>() -> Handler {
      if (count == 1) return Load ? load<T, 1, In> : store<T, 1, In>;
      if (count == 2) return Load ? load<T, 2, In> : store<T, 2, In>;
      if constexpr (sizeof(T) <= 4) return Load ? load<T, 4, In> : store<T, 4, In>;
      return nullptr;
    });
  });
  d.emit(handler, std::move(slots), offset);
}

// Atomics: slots d, address, b, c.

// clang-format off
struct Add { template <class T> static T apply(T old, T b, T) { return static_cast<T>(old + b); } };
struct Min { template <class T> static T apply(T old, T b, T) { return std::min(old, b); } };
struct Max { template <class T> static T apply(T old, T b, T) { return std::max(old, b); } };
struct And { template <class T> static T apply(T old, T b, T) { return old & b; } };
struct Or { template <class T> static T apply(T old, T b, T) { return old | b; } };
struct Xor { template <class T> static T apply(T old, T b, T) { return old ^ b; } };
struct Exchange { template <class T> static T apply(T, T b, T) { return b; } };
struct CompareAndSwap { template <class T> static T apply(T old, T b, T c) { return old == b ? c : old; } };
// clang-format on

template <class Function, class T, Space In>
void atomic(Thread& t, const Instruction& i) {
  auto* const at = access<In>(t, i, 1, sizeof(T), device::Access::Atomic, i.constant);
  if (!at) return;
  T old;
  device::copy_unchecked(&old, at, sizeof old);
  using Unsigned = std::conditional_t<std::is_signed_v<T> && std::is_integral_v<T> && std::is_same_v<Function, Add>,
                                      std::make_unsigned<T>, std::type_identity<T>>::type;
  const auto result =
      Function::template apply<Unsigned>(static_cast<Unsigned>(old), t.get<Unsigned>(i, 2), t.get<Unsigned>(i, 3));
  device::copy_unchecked(at, &result, sizeof result);
  t.set(i, 0, old);
}

template <class Function, Space In>
Handler atomic_on(Type type) {
  if constexpr (std::is_same_v<Function, Add>) {
    if (type == Type{Type::Kind::Float, 32}) return atomic<Function, float, In>;
    if (type == Type{Type::Kind::Float, 64}) return atomic<Function, double, In>;
  }
  if (type.bits < 32) return nullptr;
  return for_integer(type, []<class T>() -> Handler {
    if constexpr (sizeof(T) >= 4) return atomic<Function, T, In>;
    return nullptr;
  });
}

template <bool Returns>
void decode_atomic(Decoder& d) {
  d.take_one_of({"relaxed", "acquire", "release", "acq_rel"}, false);
  d.take_one_of({"cta", "gpu", "sys"}, false);
  const auto function = d.take_one_of({"add", "min", "max", "and", "or", "xor", "exch", "cas"});
  const auto type = d.take_type();
  const size_t first = Returns ? 1 : 0, count = function == 7 ? 3 : 2;
  d.expect_operands(first + count);
  int64_t offset = 0;
  std::vector slots = {Returns ? d.destination(d.operand(0)) : d.nowhere(), d.address(d.operand(first), offset),
                       d.source(d.operand(first + 1), type), d.source(d.operand(first + count - 1), type)};
  const auto handler = for_space(d, [&]<Space In>() -> Handler {
    if constexpr (In == Space::Local || In == Space::Parameter) return nullptr;
    const std::array on = {atomic_on<Add, In>, atomic_on<Min, In>, atomic_on<Max, In>,      atomic_on<And, In>,
                           atomic_on<Or, In>,  atomic_on<Xor, In>, atomic_on<Exchange, In>, atomic_on<CompareAndSwap, In>};
    return on[static_cast<size_t>(function)](type);
  });
  d.emit(handler, std::move(slots), offset);
}

// cp.async: slots shared address, global address, bytes; the size and both offsets are 16-bit fields of the constant.

struct CopyShape {
  int16_t size, to_offset, from_offset;
};

void copy_async(Thread& t, const Instruction& i) {
  CopyShape shape;
  std::memcpy(&shape, &i.constant, sizeof shape);
  const auto size = static_cast<size_t>(shape.size);
  auto* const to = locate<Space::Shared>(t, i, 0, size, shape.to_offset);
  const auto* const from = locate<Space::Global>(t, i, 1, size, shape.from_offset);
  if (to) device::copy_async(to, from, shape.size, static_cast<int>(t.get<uint32_t>(i, 2)), t.program->place(i));
}

void decode_copy(Decoder& d) {
  if (d.operand_count() < 3) d.fail("wrong number of operands");
  d.expect_operands(d.operand_count() == 4 ? 4 : 3);
  const bool past_l1 = d.take_one_of({"ca", "cg"}) == 1;
  d.take_one_of({"shared", "shared::cta"});
  d.take_one_of({"global"});
  d.take_one_of({"L2::64B", "L2::128B", "L2::256B"}, false);
  const auto size = d.integer(d.operand(2));
  if (size != 16 && (past_l1 || (size != 4 && size != 8))) d.fail("unsupported size");
  int64_t to_offset = 0, from_offset = 0;
  std::vector slots = {d.address(d.operand(0), to_offset), d.address(d.operand(1), from_offset),
                       d.source(d.operand(d.operand_count() == 4 ? 3 : 2))};
  const CopyShape shape{static_cast<int16_t>(size), static_cast<int16_t>(to_offset), static_cast<int16_t>(from_offset)};
  if (shape.to_offset != to_offset || shape.from_offset != from_offset) d.fail("unsupported offset");
  int64_t constant = 0;
  std::memcpy(&constant, &shape, sizeof shape);
  d.emit(copy_async, std::move(slots), constant);
}

void decode_asynchronous(Decoder& d) {
  d.take_one_of({"async"});
  if (d.take("commit_group")) {
    d.expect_operands(0);
    return d.emit([](Thread&, const Instruction&) { device::commit_copies(); }, {});
  }
  const bool all = d.take("wait_all");
  if (!all && !d.take("wait_group")) return decode_copy(d);
  d.expect_operands(all ? 0 : 1);
  const auto pending = all ? 0 : d.integer(d.operand(0));
  d.emit(
      [](Thread&, const Instruction& i) {
        if (i.constant < 0) device::commit_copies();
        device::wait_for_copies(std::max(0, static_cast<int>(i.constant)));
      },
      {}, all ? -1 : static_cast<int64_t>(pending));
}

template <bool Transposed>
void load_tiles(Thread& t, const Instruction& i) {
  const auto* row = locate<Space::Shared>(t, i, 4, 16, i.constant);
  uint32_t tiles[4];
  device::load_tiles(tiles, row ? row : t.shared, Transposed, t.program->place(i));
  for (int tile = 0; tile < 4; ++tile) t.set(i, tile, uint64_t{tiles[tile]});
}

void decode_load_tiles(Decoder& d) {
  d.expect_operands(2);
  for (const auto modifier : {"sync", "aligned", "m8n8", "x4", "b16"}) d.take_one_of({modifier});
  d.take_one_of({"shared", "shared::cta"});
  auto slots = d.vector(d.operand(0), true);
  if (slots.size() != 4) d.fail("wrong number of operands");
  int64_t offset = 0;
  slots.push_back(d.address(d.operand(1), offset));
  d.emit(d.take("trans") ? load_tiles<true> : load_tiles<false>, std::move(slots), offset);
}

}  // namespace

const Opcodes& memory_opcodes() {
  static const Opcodes kOpcodes = {{"ld", decode_access<true>},   {"st", decode_access<false>}, {"atom", decode_atomic<true>},
                                   {"red", decode_atomic<false>}, {"cp", decode_asynchronous},  {"ldmatrix", decode_load_tiles}};
  return kOpcodes;
}

}  // namespace emulator::ptx
