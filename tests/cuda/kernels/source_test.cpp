// The kernels' own source, compiled for the CPU, with the checker.

#include "tests/cuda/kernels/backend.h"
#include "tests/cuda/kernels/schedules.h"

namespace respeft::cuda::test {

struct Backend : EmulatedBackend {
  template <class Kernel>
  void run(const LaunchShape& shape, const typename Kernel::Params& params) {
    emulator::launch(emulated(shape), schedule, [&] { Kernel::function(params); });
  }
};

template <class Check>
void for_each_backend(const Check& check) {
  for_each_schedule<Backend>(check);
}

}  // namespace respeft::cuda::test

#include "tests/cuda/kernels/tests.h"
