#pragma once

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/emulator/device.h"
#include "tests/emulator/emulator.h"
#include "tests/emulator/ptx_syntax.h"

/// PTX as instructions that run: a function and the slots it works on.
namespace emulator::ptx {

struct Program;
struct Instruction;

/// A CUDA thread. A slot is 64 bits: first the kernel's registers, then its constants and special registers, so that every
/// operand is a slot. A value lies in the low bytes of its slot; what is above is arbitrary, except after ld and cvt, which
/// extend.
struct Thread {
  const Program* program;
  const Instruction* next;
  uint64_t* slots;
  unsigned char* shared;  ///< static, then dynamic; a shared address is an offset into it
  size_t shared_bytes;
  unsigned char* local;       ///< this thread's
  unsigned char* parameters;  ///< of the launch

  template <class T>
  T get(const Instruction& instruction, int operand) const;
  template <class T>
  void set(const Instruction& instruction, int operand, T value);
  bool predicate(const Instruction& instruction, int operand) const { return get<uint8_t>(instruction, operand) & 1; }
};

using Handler = void (*)(Thread&, const Instruction&);

struct Instruction {
  Handler run;
  const uint32_t* slots;
  int64_t constant;  ///< an address's offset, or what the handler wants
  uint32_t guard;    ///< runs if this slot's lowest bit differs from `negated`
  bool negated;
};

template <class T>
T Thread::get(const Instruction& instruction, int operand) const {
  T value;
  std::memcpy(&value, slots + instruction.slots[operand], sizeof value);
  return value;
}

template <class T>
void Thread::set(const Instruction& instruction, int operand, T value) {
  static_assert(sizeof value <= sizeof(uint64_t));
  std::memcpy(slots + instruction.slots[operand], &value, sizeof value);
}

/// A kernel, ready to run.
struct Program {
  struct Special {
    uint32_t slot;
    uint64_t (*value)(const Thread&, uint64_t argument);
    uint64_t argument;
  };
  std::string name;
  std::vector<Instruction> code;
  std::vector<uint32_t> operands;
  std::vector<std::string> places;  ///< one an instruction
  std::vector<uint64_t> slots;      ///< what a thread's hold at its start
  std::vector<Special> specials;
  std::vector<Variable> parameters;
  std::vector<size_t> parameter_offsets;
  size_t parameter_bytes = 0, shared_bytes = 0, local_bytes = 0;
  int max_threads = 0;

  device::Place place(const Instruction& instruction) const {
    return device::Place::text(places[static_cast<size_t>(&instruction - code.data())].c_str());
  }
};

struct Type {
  enum class Kind { Bits, Unsigned, Signed, Float, BFloat, Tf32, Predicate };
  Kind kind = Kind::Bits;
  int bits = 0, lanes = 1;
  bool is_float() const { return kind == Kind::Float || kind == Kind::BFloat; }
  size_t bytes() const { return static_cast<size_t>(bits * lanes) / 8; }
  bool operator==(const Type&) const = default;
};

/// Global and constant variables of a module, in memory.
using Globals = std::unordered_map<std::string, std::unique_ptr<Buffer<unsigned char>>>;

/// Turns a kernel's statements into a program. Functions that decode one statement take its modifiers and operands from here;
/// whatever they leave is an error.
class Decoder {
 public:
  Decoder(const ModuleText& module, const KernelText& kernel, const Globals& globals);
  Program decode();

  [[noreturn]] void fail(const std::string& what) const;

  // The current statement's modifiers, each of which can be taken once.
  bool take(std::string_view modifier);
  /// The index of the only one that is present; -1 (or an error, if `required`) if there is none.
  int take_one_of(std::initializer_list<std::string_view> modifiers, bool required = true);
  Type take_type();

  // Its operands.
  void expect_operands(size_t count) const;
  size_t operand_count() const { return statement_->operands.size(); }
  const Operand& operand(size_t i) const { return statement_->operands.at(i); }
  uint32_t destination(const Operand& operand);
  uint32_t nowhere() const { return names_.at("_"); }
  uint32_t source(const Operand& operand, Type type = {});
  uint32_t predicate(const Operand& operand, bool& negated);
  uint64_t integer(const Operand& operand) const;
  std::vector<uint32_t> vector(const Operand& operand, bool to, Type type = {});
  /// The base of [base + offset].
  uint32_t address(const Operand& operand, int64_t& offset);
  uint32_t constant(uint64_t value);
  int64_t label(const std::string& name) const;
  const std::vector<std::string>& branch_targets(const std::string& name) const;

  void emit(Handler handler, std::vector<uint32_t> slots, int64_t constant = 0);

 private:
  void place_parameters();
  size_t place_variables(const std::vector<Variable>& variables, size_t offset, bool local);
  void decode_statement(const Statement& statement);
  uint32_t symbol(const std::string& name);
  uint32_t special(uint64_t (*value)(const Thread&, uint64_t), uint64_t argument = 0);
  uint32_t new_slot(uint64_t value);

  const ModuleText& module_;
  const KernelText& kernel_;
  const Globals& globals_;
  const Statement* statement_ = nullptr;
  std::vector<bool> taken_;
  Program program_;
  std::vector<size_t> first_operand_;
  std::unordered_map<std::string, uint32_t> names_;
  std::unordered_map<uint64_t, uint32_t> constants_;
};

/// The functions that decode each opcode.
using Opcodes = std::unordered_map<std::string_view, void (*)(Decoder&)>;
const Opcodes& arithmetic_opcodes();  // ptx_arithmetic.cpp
const Opcodes& conversion_opcodes();  // ptx_conversion.cpp
const Opcodes& memory_opcodes();      // ptx_memory.cpp
const Opcodes& control_opcodes();     // ptx_control.cpp

}  // namespace emulator::ptx
