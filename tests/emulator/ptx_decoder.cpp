#include "tests/emulator/ptx_decoder.h"

#include <algorithm>
#include <array>

namespace emulator::ptx {
namespace {

size_t align(size_t offset, size_t alignment) {
  return (offset + alignment - 1) / alignment * alignment;
}

using SpecialValue = uint64_t (*)(const Thread&, uint64_t);
const std::unordered_map<std::string_view, SpecialValue> kSpecials = {
    {"%tid.x", [](const Thread&, uint64_t) -> uint64_t { return device::thread_index().x; }},
    {"%tid.y", [](const Thread&, uint64_t) -> uint64_t { return device::thread_index().y; }},
    {"%tid.z", [](const Thread&, uint64_t) -> uint64_t { return device::thread_index().z; }},
    {"%ctaid.x", [](const Thread&, uint64_t) -> uint64_t { return device::block_index().x; }},
    {"%ctaid.y", [](const Thread&, uint64_t) -> uint64_t { return device::block_index().y; }},
    {"%ctaid.z", [](const Thread&, uint64_t) -> uint64_t { return device::block_index().z; }},
    {"%ntid.x", [](const Thread&, uint64_t) -> uint64_t { return device::block_size().x; }},
    {"%ntid.y", [](const Thread&, uint64_t) -> uint64_t { return device::block_size().y; }},
    {"%ntid.z", [](const Thread&, uint64_t) -> uint64_t { return device::block_size().z; }},
    {"%nctaid.x", [](const Thread&, uint64_t) -> uint64_t { return device::grid_size().x; }},
    {"%nctaid.y", [](const Thread&, uint64_t) -> uint64_t { return device::grid_size().y; }},
    {"%nctaid.z", [](const Thread&, uint64_t) -> uint64_t { return device::grid_size().z; }},
    {"%laneid", [](const Thread&, uint64_t) -> uint64_t { return device::lane(); }},
    {"%lanemask_eq", [](const Thread&, uint64_t) -> uint64_t { return 1u << device::lane(); }},
    {"%lanemask_lt", [](const Thread&, uint64_t) -> uint64_t { return (1u << device::lane()) - 1; }},
    {"%lanemask_le", [](const Thread&, uint64_t) -> uint64_t { return (2u << device::lane()) - 1; }},
    {"%lanemask_ge", [](const Thread&, uint64_t) -> uint64_t { return ~((1u << device::lane()) - 1); }},
    {"%lanemask_gt", [](const Thread&, uint64_t) -> uint64_t { return ~((2u << device::lane()) - 1); }},
};

uint64_t local_address(const Thread& thread, uint64_t offset) {
  return reinterpret_cast<uintptr_t>(thread.local + offset);
}

constexpr uint64_t kUnset = ~uint64_t{0};  // NaN, true and an address that nobody owns

}  // namespace

Decoder::Decoder(const ModuleText& module, const KernelText& kernel, const Globals& globals)
    : module_(module), kernel_(kernel), globals_(globals) {
  program_.name = kernel.name;
  program_.max_threads = kernel.max_threads;
  for (const auto& name : kernel.registers) names_[name] = new_slot(kUnset);
  names_["_"] = new_slot(kUnset);
  place_parameters();
  program_.local_bytes = place_variables(kernel.local, 0, true);
  auto shared = place_variables(kernel.shared, place_variables(module.shared, 0, false), false);
  for (const auto& variable : module.dynamic_shared) shared = align(shared, variable.alignment);
  program_.shared_bytes = shared;
  for (const auto& variable : module.dynamic_shared) names_[variable.name] = constant(shared);
}

void Decoder::place_parameters() {
  size_t offset = 0;
  for (const auto& parameter : kernel_.parameters) {
    offset = align(offset, parameter.alignment);
    program_.parameter_offsets.push_back(offset);
    names_[parameter.name] = constant(offset);
    offset += parameter.size;
  }
  program_.parameters = kernel_.parameters;
  program_.parameter_bytes = offset;
}

size_t Decoder::place_variables(const std::vector<Variable>& variables, size_t offset, bool local) {
  for (const auto& variable : variables) {
    offset = align(offset, variable.alignment);
    names_[variable.name] = local ? special(local_address, offset) : constant(offset);
    offset += variable.size;
  }
  return offset;
}

Program Decoder::decode() {
  for (const auto& statement : kernel_.statements) decode_statement(statement);
  for (size_t i = 0; i < program_.code.size(); ++i) program_.code[i].slots = program_.operands.data() + first_operand_[i];
  return std::move(program_);
}

void Decoder::decode_statement(const Statement& statement) {
  statement_ = &statement;
  taken_.assign(statement.modifiers.size(), false);
  const auto before = program_.code.size();
  for (const auto* opcodes : {&arithmetic_opcodes(), &conversion_opcodes(), &memory_opcodes(), &control_opcodes()})
    if (const auto decode = opcodes->find(statement.opcode); decode != opcodes->end()) decode->second(*this);
  if (program_.code.size() != before + 1) fail("unknown opcode '" + statement.opcode + "'");
  for (size_t i = 0; i < taken_.size(); ++i)
    if (!taken_[i]) fail("unsupported modifier '." + statement.modifiers[i] + "'");
}

void Decoder::fail(const std::string& what) const {
  throw std::runtime_error(what + " in " + statement_->place);
}

bool Decoder::take(std::string_view modifier) {
  for (size_t i = 0; i < taken_.size(); ++i)
    if (!taken_[i] && statement_->modifiers[i] == modifier) return taken_[i] = true;
  return false;
}

int Decoder::take_one_of(std::initializer_list<std::string_view> modifiers, bool required) {
  int index = 0;
  for (const auto modifier : modifiers) {
    if (take(modifier)) return index;
    ++index;
  }
  if (required) fail("none of the modifiers that are supported ('." + std::string(*modifiers.begin()) + "' …)");
  return -1;
}

Type Decoder::take_type() {
  using Kind = Type::Kind;
  static const std::unordered_map<std::string_view, Type> kTypes = {
      {"b8", {Kind::Bits, 8}},       {"b16", {Kind::Bits, 16}},       {"b32", {Kind::Bits, 32}},
      {"b64", {Kind::Bits, 64}},     {"u8", {Kind::Unsigned, 8}},     {"u16", {Kind::Unsigned, 16}},
      {"u32", {Kind::Unsigned, 32}}, {"u64", {Kind::Unsigned, 64}},   {"s8", {Kind::Signed, 8}},
      {"s16", {Kind::Signed, 16}},   {"s32", {Kind::Signed, 32}},     {"s64", {Kind::Signed, 64}},
      {"f16", {Kind::Float, 16}},    {"f16x2", {Kind::Float, 16, 2}}, {"f32", {Kind::Float, 32}},
      {"f64", {Kind::Float, 64}},    {"bf16", {Kind::BFloat, 16}},    {"bf16x2", {Kind::BFloat, 16, 2}},
      {"tf32", {Kind::Tf32, 32}},    {"pred", {Kind::Predicate, 1}},
  };
  for (size_t i = 0; i < taken_.size(); ++i) {
    if (taken_[i]) continue;
    const auto type = kTypes.find(statement_->modifiers[i]);
    if (type == kTypes.end()) continue;
    taken_[i] = true;
    return type->second;
  }
  fail("no type");
}

void Decoder::expect_operands(size_t count) const {
  if (statement_->operands.size() != count) fail("wrong number of operands");
}

uint32_t Decoder::destination(const Operand& operand) {
  if ((operand.kind != Operand::Kind::Register && operand.name != "_") || operand.negated)
    fail("a destination that is no register");
  return names_.at(operand.name);
}

uint32_t Decoder::source(const Operand& operand, Type type) {
  using Kind = Operand::Kind;
  const bool wide_float = type.kind == Type::Kind::Float && type.bits >= 32;
  if (operand.negated) fail("a negated operand");
  switch (operand.kind) {
    case Kind::Register:
      return names_.at(operand.name);
    case Kind::Symbol:
      return symbol(operand.name);
    case Kind::Integer:
      if (wide_float) fail("an integer for a float");
      return constant(operand.bits);
    case Kind::Float:
      return constant(operand.bits);
    default:
      fail("an operand that is no register, symbol or number");
  }
}

uint32_t Decoder::predicate(const Operand& operand, bool& negated) {
  negated = operand.negated;
  if (operand.kind != Operand::Kind::Register) fail("a predicate that is no register");
  return names_.at(operand.name);
}

uint64_t Decoder::integer(const Operand& operand) const {
  if (operand.kind != Operand::Kind::Integer || operand.negated) fail("an operand that must be a constant is none");
  return operand.bits;
}

std::vector<uint32_t> Decoder::vector(const Operand& operand, bool to, Type type) {
  const bool single = operand.kind != Operand::Kind::Vector;
  std::vector<uint32_t> slots;
  for (const auto& part : single ? std::vector{operand} : operand.parts)
    slots.push_back(to ? destination(part) : source(part, type));
  return slots;
}

uint32_t Decoder::address(const Operand& operand, int64_t& offset) {
  if (operand.kind != Operand::Kind::Address) fail("expected [an address]");
  offset = static_cast<int64_t>(operand.bits);
  return source(operand.parts.front());
}

uint32_t Decoder::new_slot(uint64_t value) {
  program_.slots.push_back(value);
  return static_cast<uint32_t>(program_.slots.size() - 1);
}

uint32_t Decoder::constant(uint64_t value) {
  const auto [entry, is_new] = constants_.try_emplace(value);
  if (is_new) entry->second = new_slot(value);
  return entry->second;
}

uint32_t Decoder::special(uint64_t (*value)(const Thread&, uint64_t), uint64_t argument) {
  program_.specials.push_back({new_slot(0), value, argument});
  return program_.specials.back().slot;
}

/// A special register, or the address of a variable.
uint32_t Decoder::symbol(const std::string& name) {
  if (const auto known = names_.find(name); known != names_.end() && name != "_") return known->second;
  if (const auto value = kSpecials.find(name); value != kSpecials.end()) return names_[name] = special(value->second);
  if (name == "WARP_SZ") return constant(32);
  if (const auto variable = globals_.find(name); variable != globals_.end())
    return names_[name] = constant(reinterpret_cast<uintptr_t>(variable->second->data()));
  fail("unknown name '" + name + "'");
}

int64_t Decoder::label(const std::string& name) const {
  const auto label = kernel_.labels.find(name);
  if (label == kernel_.labels.end()) fail("unknown label '" + name + "'");
  return static_cast<int64_t>(label->second);
}

const std::vector<std::string>& Decoder::branch_targets(const std::string& name) const {
  const auto targets = kernel_.branch_targets.find(name);
  if (targets == kernel_.branch_targets.end()) fail("unknown list of labels '" + name + "'");
  return targets->second;
}

/// One statement is one instruction, so that a label's statement is its instruction.
void Decoder::emit(Handler handler, std::vector<uint32_t> slots, int64_t constant_value) {
  if (!handler) fail("an unsupported type");
  const auto guard = statement_->guard.empty() ? constant(1) : names_.at(statement_->guard);
  program_.code.push_back({handler, nullptr, constant_value, guard, statement_->guard_negated});
  program_.places.push_back(statement_->place);
  first_operand_.push_back(program_.operands.size());
  program_.operands.insert(program_.operands.end(), slots.begin(), slots.end());
}

}  // namespace emulator::ptx
