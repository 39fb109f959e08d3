#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <respeft/io/safetensors.h>

namespace respeft::train {

/// Whether weight decay applies to a parameter: not when its name has `bias` or `norm`. Nothing else counts, so the scales
/// and shifts of an adapter on a linear decay, and those on `norm1` do not. Source: the papers' training code.
bool decays(const std::string& parameter);

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 5e-5;  ///< of parameters that `decays` names
};

/// AdamW (Loshchilov & Hutter 2019) on named parameters, by ATen's fused kernel: hundreds of small tensors take one call
/// where `torch::optim::AdamW` takes eight for each. The state is named too, so that it can be kept in a file.
class AdamW {
 public:
  AdamW(std::vector<std::pair<std::string, at::Tensor>> parameters, const AdamWOptions& options);

  /// One step with the parameters' gradients; a parameter without one stays as it is.
  void step(double lr);
  void zero_grad();

  /// `exp_avg/NAME`, `exp_avg_sq/NAME`, `step/NAME` for every parameter. The tensors are the optimizer's own, not copies.
  io::TensorMap state() const;
  /// Copies the state from `tensors`, which may hold other things too. Throws `std::runtime_error` naming a missing key or
  /// a wrong shape.
  void load_state(const io::TensorMap& tensors);

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter, exp_avg, exp_avg_sq, step;
  };
  void step_group(double lr, double weight_decay, bool decaying);

  std::vector<Slot> slots_;
  AdamWOptions options_;
};

/// Scales the gradients of `parameters` down so that their norm together is at most `limit`; returns the norm before.
/// The same as `torch::nn::utils::clip_grad_norm_`.
double clip_gradients(const std::vector<at::Tensor>& parameters, double limit);

}  // namespace respeft::train
