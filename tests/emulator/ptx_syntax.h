#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

/// PTX text as a tree: what ptx_parser.cpp reads and ptx_decoder.h gives a meaning. Grammar: PTX ISA 9.0, "Syntax".
namespace emulator::ptx {

/// A fault of a PTX file, with the line it is in.
[[noreturn]] void fail(int line, const std::string& what);

struct Operand {
  enum class Kind { Register, Symbol, Integer, Float, Address, Vector, Pair };
  Kind kind{};
  std::string name{};            ///< of a register (unique in the kernel), a label or a variable
  uint64_t bits = 0;             ///< of a number; an address's offset
  bool negated = false;          ///< !p
  std::vector<Operand> parts{};  ///< an address's base; a vector's elements; d and p of d|p
};

/// One instruction: [@[!]guard] opcode.modifiers operands;
struct Statement {
  std::string guard;
  bool guard_negated = false;
  std::string opcode;
  std::vector<std::string> modifiers;
  std::vector<Operand> operands;
  int line = 0;
  std::string place;  ///< what reports call it: source line, if the file has .loc directives, PTX line and text
};

/// A variable in shared, local, constant or global memory, or a parameter.
struct Variable {
  std::string name;
  size_t alignment = 1, size = 0;
  std::vector<unsigned char> values;  ///< its initializer, then zeros (empty if there is none)
};

struct KernelText {
  std::string name{};  ///< mangled
  std::vector<Variable> parameters, shared, local;
  int max_threads = 0;  ///< of .maxntid or .reqntid, 0 if it has neither
  std::vector<std::string> registers;
  std::vector<Statement> statements;
  std::unordered_map<std::string, size_t> labels;  ///< index of the statement that follows
  std::unordered_map<std::string, std::vector<std::string>> branch_targets;
};

struct ModuleText {
  std::vector<KernelText> kernels;
  std::vector<Variable> shared, dynamic_shared, global, constant;
};

ModuleText parse(const std::filesystem::path& path);

}  // namespace emulator::ptx
