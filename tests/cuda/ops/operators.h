#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

/// The operators with arguments to call them with, and what they should give.
namespace respeft::ops::test {

/// Tensors by their position in an operator's schema, or its results; undefined where there is none.
using Tensors = std::vector<at::Tensor>;
constexpr size_t kInput = 0, kWeight = 1;  // the weight is frozen

/// An operator with arguments on the CPU in float64, whose values the dtypes of a test hold exactly.
struct Operator {
  Tensors arguments;
  std::vector<bool> may_be_float;  ///< of an argument: whether it may have float32 beside an input of lower precision
  std::function<Tensors(const Tensors&arguments)> call, plain;  ///< `plain`: the same in ATen's operators
  /// The gradients of the arguments that are wanted, from the outputs' (`seeds`).
  std::function<Tensors(const Tensors& arguments, const Tensors& outputs, const Tensors& seeds, const std::vector<bool>& wanted)>
      backward;
};

/// Makes an operator whose arguments hold values of `dtype`, and those that may be float32 of `beside`.
using Maker = std::function<Operator(at::ScalarType dtype, at::ScalarType beside)>;

struct Case {
  std::string name;
  Maker make;
};
inline void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}

/// Every operator with one element, odd sizes, aligned ones, groups, and nothing.
std::vector<Case> all_cases();
/// One of each operator, of a size that fills several tiles.
std::vector<Case> typical_cases();
/// One of each operator, small enough for central differences.
std::vector<Case> small_cases();

/// Standard normal values times `scale` that `dtype` holds exactly, in float64 on the CPU.
at::Tensor draw(std::vector<int64_t> leading, const std::vector<int64_t>& sizes, double scale, at::ScalarType dtype);

}  // namespace respeft::ops::test
