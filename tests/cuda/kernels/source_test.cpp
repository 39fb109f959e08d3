// The kernels' own source, compiled for the CPU, with the checker.

#include "tests/cuda/kernels/backend.h"
#include "tests/cuda/kernels/schedules.h"

namespace respeft::cuda::test {

struct Backend {
  template <class T>
  using Buffer = emulator::Buffer<T>;
  emulator::Schedule schedule;

  template <class Kernel>
  void run(const LaunchShape& shape, const typename Kernel::Params& params) {
    emulator::launch({shape.grid, shape.block, shape.shared_bytes}, schedule, [&] { Kernel::function(params); });
  }
  void verify() { expect_no_reports(); }
  std::string describe() const { return test::describe(schedule); }
};

template <class Check>
void for_each_backend(const Check& check) {
  for (const auto& schedule : schedules()) {
    Backend backend{schedule};
    check(backend);
  }
}

}  // namespace respeft::cuda::test

#include "tests/cuda/kernels/tests.h"
