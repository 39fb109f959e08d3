#include "tests/emulator/ptx.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "tests/emulator/ptx_decoder.h"

namespace emulator {
namespace {

/// As c++filt: `void respeft::cuda::gemm<float>(…)`.
std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

/// The slots and local memory of a block's threads; a thread that starts makes its own anew.
class ThreadMemory {
 public:
  ThreadMemory(const ptx::Program& program, size_t threads)
      : program_(program), slots_(threads * program.slots.size()), local_(threads * stride()) {}

  uint64_t* slots(size_t thread) {
    auto* const slots = slots_.data() + thread * program_.slots.size();
    std::copy(program_.slots.begin(), program_.slots.end(), slots);
    return slots;
  }
  unsigned char* local(size_t thread) {
    auto* const local = reinterpret_cast<unsigned char*>(local_.data() + thread * stride());
    std::fill_n(local, program_.local_bytes, 0xff);
    return local;
  }

 private:
  struct alignas(16) Unit {
    unsigned char bytes[16];
  };
  size_t stride() const { return (program_.local_bytes + sizeof(Unit) - 1) / sizeof(Unit); }

  const ptx::Program& program_;
  std::vector<uint64_t> slots_;
  std::vector<Unit> local_;
};

void run(ptx::Thread thread) {
  for (const auto& special : thread.program->specials) thread.slots[special.slot] = special.value(thread, special.argument);
  thread.next = thread.program->code.data();
  while (thread.next) {
    const auto& instruction = *thread.next++;
    if ((thread.slots[instruction.guard] & 1) != instruction.negated) instruction.run(thread, instruction);
  }
}

std::vector<unsigned char> place_arguments(const ptx::Program& program, std::span<const std::span<const std::byte>> arguments) {
  const auto fail = [&](const std::string& what) { throw std::invalid_argument(demangled(program.name) + ": " + what); };
  if (arguments.size() != program.parameters.size())
    fail("expected " + std::to_string(program.parameters.size()) + " arguments, got " + std::to_string(arguments.size()));
  std::vector<unsigned char> bytes(program.parameter_bytes);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i].size() != program.parameters[i].size)
      fail("argument " + std::to_string(i) + " has " + std::to_string(arguments[i].size()) + " bytes, the kernel's " +
           std::to_string(program.parameters[i].size));
    std::memcpy(bytes.data() + program.parameter_offsets[i], arguments[i].data(), arguments[i].size());
  }
  return bytes;
}

}  // namespace

void PtxKernel::launch_bytes(const Launch& how, const Schedule& schedule,
                             std::span<const std::span<const std::byte>> arguments) const {
  const auto& program = *program_;
  auto parameters = place_arguments(program, arguments);
  const auto threads = size_t{how.block.x} * how.block.y * how.block.z;
  if (program.max_threads && threads > static_cast<size_t>(program.max_threads))
    throw std::invalid_argument(demangled(program.name) + ": launched with " + std::to_string(threads) +
                                " threads, compiled for " + std::to_string(program.max_threads));
  ThreadMemory memory(program, threads);
  auto with_static = how;
  with_static.shared_bytes += program.shared_bytes;
  emulator::launch(with_static, schedule, [&] {
    const auto index = device::thread_index();
    const auto size = device::block_size();
    const auto number = index.x + size_t{size.x} * (index.y + size_t{size.y} * index.z);
    run({&program, nullptr, memory.slots(number), device::dynamic_shared(), with_static.shared_bytes, memory.local(number),
         parameters.data()});
  });
}

const std::string& PtxKernel::name() const {
  return program_->name;
}
size_t PtxKernel::instructions() const {
  return program_->code.size();
}
size_t PtxKernel::static_shared_bytes() const {
  return program_->shared_bytes;
}
bool PtxKernel::uses_local_memory() const {
  return program_->local_bytes > 0;
}

struct PtxModule::Contents {
  std::string path;
  ptx::ModuleText text;
  ptx::Globals globals;
};

PtxModule::PtxModule(const std::filesystem::path& path)
    : contents_(std::make_shared<Contents>(Contents{path.string(), ptx::parse(path), {}})) {
  for (const auto* variables : {&contents_->text.global, &contents_->text.constant})
    for (const auto& variable : *variables) {
      auto values = variable.values;
      values.resize(variable.size);
      contents_->globals[variable.name] = std::make_unique<Buffer<unsigned char>>(values, demangled(variable.name));
    }
}

std::vector<std::string> PtxModule::kernels() const {
  std::vector<std::string> names;
  for (const auto& kernel : contents_->text.kernels) names.push_back(kernel.name);
  return names;
}

PtxKernel PtxModule::kernel(const std::string& name) const {
  std::vector<const ptx::KernelText*> exact, containing;
  std::string all;
  for (const auto& kernel : contents_->text.kernels) {
    const auto plain = demangled(kernel.name);
    if (kernel.name == name || plain == name) exact.push_back(&kernel);
    if (kernel.name.find(name) != std::string::npos || plain.find(name) != std::string::npos) containing.push_back(&kernel);
    all += "\n  " + plain;
  }
  const auto& found = exact.empty() ? containing : exact;
  if (found.size() != 1)
    throw std::invalid_argument(contents_->path + ": " + (found.empty() ? "no kernel" : "more than one kernel") + " '" + name +
                                "' among" + all);
  PtxKernel kernel;
  try {
    kernel.program_ = std::make_shared<ptx::Program>(ptx::Decoder(contents_->text, *found.front(), contents_->globals).decode());
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(contents_->path + ": " + error.what());
  }
  kernel.module_ = contents_;
  return kernel;
}

}  // namespace emulator
