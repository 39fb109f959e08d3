#include <algorithm>
#include <array>

#include "tests/emulator/ptx_decoder.h"

/// Branches, barriers, warp collectives and the tensor cores.
namespace emulator::ptx {
namespace {

void branch(Thread& t, const Instruction& i) {
  t.next = t.program->code.data() + i.constant;
}

void branch_by_index(Thread& t, const Instruction& i) {
  const auto index = std::min(static_cast<int64_t>(t.get<uint32_t>(i, 0)), i.constant - 1);
  t.next = t.program->code.data() + i.slots[1 + index];
}

void decode_branch(Decoder& d) {
  d.expect_operands(1);
  d.take("uni");
  d.emit(branch, {}, d.label(d.operand(0).name));
}

void decode_branch_by_index(Decoder& d) {
  d.expect_operands(2);
  d.take_one_of({"idx"});
  d.take("uni");
  std::vector slots = {d.source(d.operand(0))};
  const auto& labels = d.branch_targets(d.operand(1).name);
  for (const auto& label : labels) slots.push_back(static_cast<uint32_t>(d.label(label)));
  d.emit(branch_by_index, std::move(slots), static_cast<int64_t>(labels.size()));
}

void decode_return(Decoder& d) {
  d.expect_operands(0);
  d.take("uni");
  d.emit([](Thread& t, const Instruction&) { t.next = nullptr; }, {});
}

void decode_trap(Decoder& d) {
  d.expect_operands(0);
  d.emit(
      [](Thread& t, const Instruction& i) {
        device::report("the kernel traps", t.program->place(i));
        t.next = nullptr;
      },
      {});
}

/// Memory is coherent here, and a fence orders nothing for the checker.
void decode_fence(Decoder& d) {
  d.expect_operands(0);
  d.take_one_of({"sc", "acq_rel"}, false);
  d.take_one_of({"cta", "gl", "gpu", "sys"});
  d.emit([](Thread&, const Instruction&) {}, {});
}

template <device::Vote Kind>
void block_vote(Thread& t, const Instruction& i) {
  const auto result = device::block_vote(t.predicate(i, 1) != static_cast<bool>(i.constant), Kind, t.program->place(i));
  t.set(i, 0, static_cast<uint64_t>(result));
}

/// bar.sync 0; bar.warp.sync mask; bar.red.popc.u32 d, 0, p
void decode_barrier(Decoder& d) {
  if (d.take("warp")) {
    d.take_one_of({"sync"});
    d.expect_operands(1);
    return d.emit([](Thread& t, const Instruction& i) { device::warp_barrier(t.get<uint32_t>(i, 0), t.program->place(i)); },
                  {d.source(d.operand(0))});
  }
  d.take("cta");
  d.take("aligned");
  const bool sync = d.take("sync");
  if (!sync) d.take_one_of({"red"});
  d.expect_operands(sync ? 1 : 3);
  if (d.integer(d.operand(sync ? 0 : 1)) != 0) d.fail("unsupported barrier other than 0");
  if (sync) return d.emit([](Thread& t, const Instruction& i) { device::block_barrier(t.program->place(i)); }, {});
  const std::array handlers = {block_vote<device::Vote::Count>, block_vote<device::Vote::All>, block_vote<device::Vote::Any>};
  const auto kind = static_cast<size_t>(d.take_one_of({"popc", "and", "or"}));
  const Type expected{kind == 0 ? Type::Kind::Unsigned : Type::Kind::Predicate, kind == 0 ? 32 : 1};
  if (d.take_type() != expected) d.fail("unsupported type");
  bool negated = false;
  const auto predicate = d.predicate(d.operand(2), negated);
  d.emit(handlers[kind], {d.destination(d.operand(0)), predicate}, negated);
}

/// Slots d, p, value, lane or distance, clamp and segments, mask. The kind is the constant.
void shuffle(Thread& t, const Instruction& i) {
  const auto kind = static_cast<device::Shuffle>(i.constant);
  const auto shape = t.get<uint32_t>(i, 4);
  const int width = 32 - static_cast<int>(shape >> 8 & 31);
  if ((shape & 31) != (kind == device::Shuffle::Up ? 0u : 31u) || (width & (width - 1)))
    device::report("a shuffle in segments that are no powers of two", t.program->place(i));
  bool in_range = false;
  const auto value = device::shuffle(kind, t.get<uint32_t>(i, 5), t.get<uint32_t>(i, 2),
                                     static_cast<int>(t.get<uint32_t>(i, 3) & 31), width, t.program->place(i), &in_range);
  t.set(i, 1, uint64_t{in_range});
  t.set(i, 0, value);
}

void decode_shuffle(Decoder& d) {
  d.expect_operands(5);
  d.take_one_of({"sync"});
  const auto kind = d.take_one_of({"idx", "up", "down", "bfly"});
  if (d.take_type().bits != 32) d.fail("unsupported type");
  const auto& to = d.operand(0);
  const bool pair = to.kind == Operand::Kind::Pair;
  std::vector slots = {d.destination(pair ? to.parts[0] : to), pair ? d.destination(to.parts[1]) : d.nowhere()};
  for (size_t n = 1; n < 5; ++n) slots.push_back(d.source(d.operand(n)));
  d.emit(shuffle, std::move(slots), kind);
}

enum VoteKind { kAll, kAny, kUniform, kBallot };

/// Slots d, predicate, mask; the constant is the kind, with 4 added for !predicate.
void vote(Thread& t, const Instruction& i) {
  const auto mask = t.get<uint32_t>(i, 2);
  const auto votes = device::ballot(mask, t.predicate(i, 1) != (i.constant >= 4), t.program->place(i));
  switch (i.constant & 3) {
    case kAll:
      return t.set(i, 0, uint64_t{votes == mask});
    case kAny:
      return t.set(i, 0, uint64_t{votes != 0});
    case kUniform:
      return t.set(i, 0, uint64_t{votes == mask || votes == 0});
    default:
      return t.set(i, 0, uint64_t{votes});
  }
}

void decode_vote(Decoder& d) {
  d.expect_operands(3);
  d.take_one_of({"sync"});
  const auto kind = d.take_one_of({"all", "any", "uni", "ballot"});
  if (d.take_type().bits != (kind == kBallot ? 32 : 1)) d.fail("unsupported type");
  bool negated = false;
  const auto predicate = d.predicate(d.operand(1), negated);
  d.emit(vote, {d.destination(d.operand(0)), predicate, d.source(d.operand(2))}, kind + 4 * negated);
}

void reduce(Thread& t, const Instruction& i) {
  const auto kind = static_cast<device::Reduction>(i.constant);
  t.set(i, 0, uint64_t{device::reduce(kind, t.get<uint32_t>(i, 2), t.get<uint32_t>(i, 1), t.program->place(i))});
}

void decode_reduce(Decoder& d) {
  using Kind = device::Reduction;
  static constexpr std::array kUnsigned = {Kind::Add, Kind::Min, Kind::Max, Kind::And, Kind::Or, Kind::Xor};
  static constexpr std::array kSigned = {Kind::Add, Kind::MinSigned, Kind::MaxSigned, Kind::And, Kind::Or, Kind::Xor};
  d.expect_operands(3);
  d.take_one_of({"sync"});
  const auto kind = static_cast<size_t>(d.take_one_of({"add", "min", "max", "and", "or", "xor"}));
  const auto type = d.take_type();
  if (type.bits != 32 || type.is_float()) d.fail("unsupported type");
  d.emit(reduce, {d.destination(d.operand(0)), d.source(d.operand(1)), d.source(d.operand(2))},
         static_cast<int64_t>((type.kind == Type::Kind::Signed ? kSigned : kUnsigned)[kind]));
}

void decode_active_mask(Decoder& d) {
  d.expect_operands(1);
  if (d.take_type().bits != 32) d.fail("unsupported type");
  d.emit([](Thread& t, const Instruction& i) { t.set(i, 0, uint64_t{device::active_mask()}); }, {d.destination(d.operand(0))});
}

/// Slots: 4 of d, 4 of a, 2 of b, 4 of c.
template <device::Operand Type>
void multiply(Thread& t, const Instruction& i) {
  uint32_t a[4], b[2];
  float c[4];
  for (int n = 0; n < 4; ++n) a[n] = t.get<uint32_t>(i, 4 + n);
  for (int n = 0; n < 2; ++n) b[n] = t.get<uint32_t>(i, 8 + n);
  for (int n = 0; n < 4; ++n) c[n] = t.get<float>(i, 10 + n);
  device::multiply(Type, c, a, b, t.program->place(i));
  for (int n = 0; n < 4; ++n) t.set(i, n, c[n]);
}

void decode_multiply(Decoder& d) {
  d.expect_operands(4);
  for (const auto modifier : {"sync", "aligned", "row", "col"}) d.take_one_of({modifier});
  const bool deep = d.take_one_of({"m16n8k8", "m16n8k16"}) == 1;
  const std::array types = {d.take_type(), d.take_type(), d.take_type(), d.take_type()};
  const Type single{Type::Kind::Float, 32};
  if (types[0] != single || types[3] != single || types[1] != types[2] || types[1].lanes != 1) d.fail("unsupported type");
  const Handler handler = types[1] == Type{Type::Kind::Float, 16} && deep    ? multiply<device::Operand::Half>
                          : types[1] == Type{Type::Kind::BFloat, 16} && deep ? multiply<device::Operand::BFloat16>
                          : types[1] == Type{Type::Kind::Tf32, 32} && !deep  ? multiply<device::Operand::Tf32>
                                                                             : nullptr;
  std::vector<uint32_t> slots;
  static constexpr std::array<size_t, 4> kCounts = {4, 4, 2, 4};
  for (size_t n = 0; n < 4; ++n) {
    const auto part = d.vector(d.operand(n), n == 0);
    if (part.size() != kCounts[n]) d.fail("wrong number of operands");
    slots.insert(slots.end(), part.begin(), part.end());
  }
  d.emit(handler, std::move(slots));
}

}  // namespace

const Opcodes& control_opcodes() {
  static const Opcodes kOpcodes = {
      {"bra", decode_branch},
      {"brx", decode_branch_by_index},
      {"ret", decode_return},
      {"exit", decode_return},
      {"trap", decode_trap},
      {"membar", decode_fence},
      {"fence", decode_fence},
      {"bar", decode_barrier},
      {"barrier", decode_barrier},
      {"shfl", decode_shuffle},
      {"vote", decode_vote},
      {"redux", decode_reduce},
      {"activemask", decode_active_mask},
      {"mma", decode_multiply},
  };
  return kOpcodes;
}

}  // namespace emulator::ptx
