#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <respeft/formats/safetensors.h>

namespace respeft::train {

/// Which parameters weight decay applies to. Source: the papers' training code.
enum class Decay {
  names,     ///< those without `bias` or `norm` in their name: an adapter's scales and shifts on a linear, not those on `norm1`
  matrices,  ///< those of more than one dimension: no bias, scale or shift that is a vector
  all
};

/// Throws `std::invalid_argument` that suggests what may have been meant.
Decay decay_from_name(const std::string& name);

/// Whether weight decay applies to the parameter of this name.
bool decays(Decay decay, const std::string& name, const at::Tensor& parameter);

/// Changes named parameters by their gradients. The state is named too, so that it can be kept in a file.
class Optimizer {
 public:
  using Named = std::vector<std::pair<std::string, at::Tensor>>;

  virtual ~Optimizer() = default;

  /// One step with the parameters' gradients; a parameter without one stays as it is.
  virtual void step(double lr) = 0;
  virtual void zero_grad() = 0;

  /// Everything but the parameters that the next steps depend on. The tensors are the optimizer's own, not copies.
  virtual TensorMap state() const = 0;
  /// Copies the state from `tensors`, which may hold other things too. Throws `std::runtime_error` naming a missing key or
  /// a wrong shape.
  void load_state(const TensorMap& tensors);

 protected:
  Optimizer() = default;
  Optimizer(Optimizer&&) = default;
  Optimizer& operator=(Optimizer&&) = default;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 5e-5;
  Decay decay = Decay::names;
};

/// AdamW (Loshchilov & Hutter 2019), by ATen's fused kernel: hundreds of small tensors take one call where
/// `torch::optim::AdamW` takes eight for each. State: `exp_avg/NAME`, `exp_avg_sq/NAME`, `step/NAME` for every parameter.
class AdamW : public Optimizer {
 public:
  AdamW(Named parameters, const AdamWOptions& options);

  void step(double lr) override;
  void zero_grad() override;
  TensorMap state() const override;

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter, exp_avg, exp_avg_sq, step;
  };
  void step_group(double lr, double weight_decay, bool decaying);

  std::vector<Slot> slots_;
  AdamWOptions options_;
};

struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0.0;
  Decay decay = Decay::names;
};

/// `torch::optim::SGD` with momentum, undamped, and weight decay in the gradient; likewise fused. State: `momentum/NAME` for
/// every parameter.
class Sgd : public Optimizer {
 public:
  Sgd(Named parameters, const SgdOptions& options);

  void step(double lr) override;
  void zero_grad() override;
  TensorMap state() const override;

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter, momentum;
  };
  void step_group(double lr, double weight_decay, bool decaying);

  std::vector<Slot> slots_;
  SgdOptions options_;
};

/// Scales the gradients of `parameters` down so that their norm together is at most `limit`; returns the norm before.
/// The same as `torch::nn::utils::clip_grad_norm_`.
double clip_gradients(const std::vector<at::Tensor>& parameters, double limit);

}  // namespace respeft::train
