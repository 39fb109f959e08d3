#pragma once

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include "src/ops/cuda/way.h"
#include "tests/cuda/ops/device.h"
#include "tests/cuda/ops/operators.h"

/// How the operators' tests run an operator, and what its results must equal.
namespace respeft::ops::test {

using cuda::ScopedWay;
using cuda::Way;

enum class Precision { Float32, TF32, Float16, BFloat16 };
inline const std::vector<Precision> kPrecisions = {Precision::Float32, Precision::TF32, Precision::Float16, Precision::BFloat16};

std::string to_string(Precision precision);
std::string to_string(Way way);
inline void PrintTo(Precision precision, std::ostream* stream) {
  *stream << to_string(precision);
}
at::ScalarType dtype_of(Precision precision);
bool is_lower(Precision precision);

/// Allows TF32 or forbids it while it lives.
class ScopedTf32 {
 public:
  explicit ScopedTf32(bool allowed) : before_(at::globalContext().allowTF32CuBLAS()) {
    at::globalContext().setAllowTF32CuBLAS(allowed);
  }
  ScopedTf32(const ScopedTf32&) = delete;
  ScopedTf32& operator=(const ScopedTf32&) = delete;
  ~ScopedTf32() { at::globalContext().setAllowTF32CuBLAS(before_); }

 private:
  bool before_;
};

/// How a tensor lies in memory.
enum class Layout {
  Contiguous,
  Strided,  ///< every other element of a row, between NaNs
  Shifted,  ///< contiguous, and not aligned to 16 bytes
};
std::string to_string(Layout layout);

/// Arguments or seeds on a device, in the dtypes and the layout of a test.
Tensors placed(const Tensors& tensors, at::Device device, at::ScalarType dtype, Layout layout = Layout::Contiguous,
               const std::vector<bool>& in_float = {});

/// Random gradients of the outputs, on the CPU in float64, whose values `dtype` holds.
Tensors draw_seeds(const Operator& op, at::ScalarType dtype);

struct Results {
  Tensors outputs, gradients;  ///< gradients by argument; undefined for the weight
};

/// Which arguments get a gradient.
std::vector<bool> trained(const Tensors& arguments);

/// The operator and its backward, without autograd.
Results run(const Operator& op, const Tensors& arguments, const Tensors& seeds);

/// `function` and its gradients by autograd.
Results differentiate(const std::function<Tensors(const Tensors&)>& function, Tensors arguments, const Tensors& seeds);

double largest(const at::Tensor& tensor);
double error_of(const at::Tensor& tensor, const at::Tensor& truth);

/// A few roundings, and those of sums in float32, relative to the largest value.
double roundings(Precision precision);

/// Within twice ATen's own error at this precision, and a few roundings.
void expect_close(const Results& ours, const Results& plain, const Results& truth, Precision precision);
/// Within `allowed` of the largest value of each.
void expect_within(const Results& results, const Results& truth, double allowed);
void expect_dtypes(const Results& results, const Tensors& arguments);
void expect_equal(const Results& a, const Results& b);

/// Tests of an operator on the device.
class OnDevice : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override;
  void TearDown() override { expect_no_faults(); }
};
std::string case_name(const testing::TestParamInfo<Case>& info);

/// Tests of an operator in a precision.
class InPrecision : public testing::TestWithParam<std::tuple<Case, Precision>> {
 protected:
  void SetUp() override;
  void TearDown() override { expect_no_faults(); }
  const Case& test_case() const { return std::get<0>(GetParam()); }
  Precision precision() const { return std::get<1>(GetParam()); }
  at::ScalarType dtype() const { return dtype_of(precision()); }

  /// Calls check(operator, arguments, seeds) for either way.
  template <class Check>
  void both_ways(const Check& check) const {
    const ScopedTf32 tf32(precision() == Precision::TF32);
    const auto op = test_case().make(dtype(), dtype());
    const auto arguments = placed(op.arguments, kDevice, dtype()), seeds = placed(draw_seeds(op, dtype()), kDevice, dtype());
    for (const auto way : {Way::Fused, Way::Vendor}) {
      SCOPED_TRACE(to_string(way));
      const ScopedWay scoped(way);
      check(op, arguments, seeds);
    }
  }
};
std::string case_and_precision_name(const testing::TestParamInfo<std::tuple<Case, Precision>>& info);

}  // namespace respeft::ops::test
