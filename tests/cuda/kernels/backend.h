#pragma once

#include <string>

#include "cuda/launch.h"
#include "cuda/precision.cuh"
#include "cuda/rescaled_linear.cuh"
#include "cuda/shortcut.cuh"

/// What the tests of the kernels run on: a Backend has
///   Buffer<T>         device memory, as `emulator::Buffer`; between `run`s its elements can be read and written by the host
///   run<Kernel>(shape, params)
///   verify()          fails the test if anything was found besides wrong numbers
namespace respeft::cuda::test {

/// A kernel by its function and by the name that a demangler gives it.
template <class Params_, void (*kFunction)(Params_)>
struct Kernel {
  using Params = Params_;
  static constexpr auto function = kFunction;
};

template <class Precision>
constexpr const char* precision_name() {
  if constexpr (std::is_same_v<Precision, BFloat16>) return "BFloat16";
  if constexpr (std::is_same_v<Precision, Float16>) return "Float16";
  if constexpr (std::is_same_v<Precision, TensorFloat32>) return "TensorFloat32";
  if constexpr (std::is_same_v<Precision, Float32>) return "Float32";
}

template <class Precision>
std::string kernel_name(const char* kernel) {
  return std::string("::") + kernel + "<respeft::cuda::" + precision_name<Precision>() + ">";
}
template <class Precision, Direction direction>
std::string kernel_name(const char* kernel) {
  return std::string("::") + kernel + "<respeft::cuda::" + precision_name<Precision>() + ", (respeft::cuda::Direction)" +
         (direction == Direction::Forward ? "0>" : "1>");
}

#define RESPEFT_TEST_KERNEL(NAME, FUNCTION, PARAMS)                                \
  template <class Precision>                                                       \
  struct NAME : Kernel<PARAMS<typename Precision::Element>, FUNCTION<Precision>> { \
    static std::string name() { return kernel_name<Precision>(#FUNCTION); }        \
  };
#define RESPEFT_TEST_DIRECTED_KERNEL(NAME, FUNCTION, PARAMS)                                  \
  template <class Precision, Direction direction>                                             \
  struct NAME : Kernel<PARAMS<typename Precision::Element>, FUNCTION<Precision, direction>> { \
    static std::string name() { return kernel_name<Precision, direction>(#FUNCTION); }        \
  };
RESPEFT_TEST_DIRECTED_KERNEL(RescaledProductKernel, rescaled_product, RescaledProductParams)
RESPEFT_TEST_KERNEL(RescaleKernel, rescale_weight, RescaleParams)
RESPEFT_TEST_KERNEL(ScaleGradientsKernel, scale_gradients, ScaleGradientsParams)
RESPEFT_TEST_KERNEL(SumPartsKernel, sum_parts, SumPartsParams)
RESPEFT_TEST_DIRECTED_KERNEL(ThinProductKernel, thin_product, ThinProductParams)
RESPEFT_TEST_DIRECTED_KERNEL(UpdatedProductKernel, updated_product, UpdatedProductParams)
RESPEFT_TEST_KERNEL(FoldKernel, fold_update, FoldParams)
#undef RESPEFT_TEST_KERNEL
#undef RESPEFT_TEST_DIRECTED_KERNEL

}  // namespace respeft::cuda::test
