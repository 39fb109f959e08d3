#pragma once

#include <ATen/core/Tensor.h>

#include <respeft/core/named_tensors.h>

namespace respeft::train {

/// Exponential moving average of parameters: after each step, `average = decay · average + (1 - decay) · parameter`. Starts from
/// the initial parameters. Bit-identical to timm's `ModelEmaV2`.
class ParameterEma {
 public:
  /// The average begins as a copy of `parameters`. Throws `std::invalid_argument` unless 0 <= decay < 1.
  ParameterEma(NamedTensors parameters, double decay);

  /// Call it after each step.
  void update();
  /// Swaps the parameters and the averages. Calling it twice restores both.
  void exchange();

  /// The averages, by the parameters' names. The tensors are this object's own, not copies.
  const NamedTensors& values() const { return values_; }

 private:
  NamedTensors parameters_, values_;
  double decay_;
};

}  // namespace respeft::train
