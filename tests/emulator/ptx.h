#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "tests/emulator/emulator.h"

namespace emulator {

namespace ptx {
struct Program;
}

/// A kernel as nvcc compiled it. Its accesses are checked if `device::set_checked(true)` was called.
class PtxKernel {
 public:
  /// Runs it once per thread. What the checker finds is kept for `take_reports`; places are the line of source (in PTX written
  /// with -lineinfo), the PTX line and the instruction. Arguments are what the kernel is declared with, by value: structs,
  /// numbers, pointers (to elements of a `Buffer`). Throws if their number or sizes, or the number of threads, are not the
  /// kernel's.
  template <class... Arguments>
  void launch(const Launch& how, const Schedule& schedule, const Arguments&... arguments) const {
    static_assert((std::is_trivially_copyable_v<Arguments> && ...));
    const std::vector<std::span<const std::byte>> bytes = {std::as_bytes(std::span(&arguments, 1))...};
    launch_bytes(how, schedule, bytes);
  }

  const std::string& name() const;  ///< mangled
  size_t instructions() const;
  size_t static_shared_bytes() const;
  /// Whether it keeps variables in local memory (arrays that are not in registers; what ptxas spills does not show here).
  bool uses_local_memory() const;

 private:
  friend class PtxModule;
  void launch_bytes(const Launch& how, const Schedule& schedule, std::span<const std::span<const std::byte>> arguments) const;

  std::shared_ptr<const ptx::Program> program_;
  std::shared_ptr<const void> module_;  ///< owns global variables
};

/// A file that `nvcc -arch=sm_80 -ptx [-lineinfo]` wrote. Everything that is wrong with it, and every instruction, modifier or
/// operand that the interpreter does not know, is an exception with the line.
class PtxModule {
 public:
  explicit PtxModule(const std::filesystem::path& path);

  /// Mangled names.
  std::vector<std::string> kernels() const;
  /// The one whose name, mangled or not, is `name`, or failing that the only one whose name contains it.
  PtxKernel kernel(const std::string& name) const;

 private:
  struct Contents;
  std::shared_ptr<Contents> contents_;
};

}  // namespace emulator
