#pragma once

#include <ATen/core/Tensor.h>

#include <respeft/core/named_tensors.h>

namespace respeft::train {

/// The exponential moving average of parameters over the steps: `average = decay · average + (1 - decay) · parameter` after each,
/// from the first parameters on: timm's `ModelEmaV2`, in the same arithmetic.
class ParameterEma {
 public:
  /// The average begins as a copy of `parameters`. Throws `std::invalid_argument` unless 0 <= decay < 1.
  ParameterEma(NamedTensors parameters, double decay);

  /// To be called after each step.
  void update();
  /// Puts the average into the parameters and the parameters into the average: twice is nothing.
  void exchange();

  /// The averages, by the parameters' names. The tensors are this object's own, not copies.
  const NamedTensors& values() const { return values_; }

 private:
  NamedTensors parameters_, values_;
  double decay_;
};

}  // namespace respeft::train
