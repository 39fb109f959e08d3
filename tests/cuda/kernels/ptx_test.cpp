// The kernels as nvcc compiled them: their PTX, interpreted with the checker.

#include <map>
#include <stdexcept>

#include "tests/cuda/kernels/backend.h"
#include "tests/cuda/kernels/schedules.h"
#include "tests/emulator/device.h"
#include "tests/emulator/ptx.h"

namespace respeft::cuda::test {

/// The kernel of that name in any of the files.
const emulator::PtxKernel& ptx_kernel(const std::string& name) {
  static std::map<std::string, emulator::PtxKernel> known;
  static const std::vector<emulator::PtxModule> modules = {emulator::PtxModule(RESPEFT_RESCALED_LINEAR_PTX),
                                                           emulator::PtxModule(RESPEFT_SHORTCUT_PTX)};
  if (const auto found = known.find(name); found != known.end()) return found->second;
  for (const auto& module : modules) {
    try {
      return known.emplace(name, module.kernel(name)).first->second;
    } catch (const std::exception&) {
      if (&module == &modules.back()) throw;
    }
  }
  throw std::logic_error("unreachable");
}

struct Backend : EmulatedBackend {
  template <class Kernel>
  void run(const LaunchShape& shape, const typename Kernel::Params& params) {
    emulator::device::set_checked(true);
    ptx_kernel(Kernel::name()).launch(emulated(shape), schedule, params);
  }
};

template <class Check>
void for_each_backend(const Check& check) {
  for_each_schedule<Backend>(check);
}

}  // namespace respeft::cuda::test

#include "tests/cuda/kernels/tests.h"
