#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <respeft/core/named_tensors.h>

namespace respeft::train {

/// The parameters that weight decay applies to. Source: the papers' training code.
enum class Decay {
  names,     ///< those without `bias` or `norm` in their name: an adapter's scales and shifts on a linear, not those on `norm1`
  matrices,  ///< those of more than one dimension: no bias, scale or shift that is a vector
  all
};

/// Throws `std::invalid_argument` that suggests a name.
Decay decay_from_name(const std::string& name);

/// True if weight decay applies to the parameter of this name.
bool decays(Decay decay, const std::string& name, const at::Tensor& parameter);

/// Changes named parameters by their gradients, with ATen's fused kernels: hundreds of small tensors take one call.
/// The state is named too, so that it can be kept in a file.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One step with the parameters' gradients; a parameter without one does not change. `skip` is a float32 scalar on the
  /// parameters' device: if it is 1, nothing changes (undefined: 0). So a step can be skipped without waiting for the device.
  void step(double lr, const at::Tensor& skip = {});
  void zero_grad();

  /// Everything but the parameters that the next steps depend on. The tensors are the optimizer's own, not copies.
  TensorMap state() const;
  /// Copies the state from `tensors`, which may hold others too. Throws `std::runtime_error` that names a missing key or a
  /// wrong shape.
  void load_state(const TensorMap& tensors);

 protected:
  /// Parameters that are updated in one call, with their gradients and their state, each kind of state in a list.
  struct Group {
    std::vector<at::Tensor> parameters, gradients;
    std::map<std::string, std::vector<at::Tensor>> state;
    double weight_decay = 0.0;
  };

  Optimizer(const NamedTensors& parameters, double weight_decay, Decay decay);
  Optimizer(Optimizer&&) = default;
  Optimizer& operator=(Optimizer&&) = default;

  /// Adds a tensor of state for every parameter: zeros, as large as the parameter or (`scalar`) a float32 scalar.
  void add_state(const std::string& kind, bool scalar = false);
  virtual void update(Group& group, double lr, const at::Tensor& skip) = 0;

 private:
  struct Slot {
    std::string name;
    at::Tensor parameter;
    TensorMap state;  ///< by kind
  };
  Group group(bool decaying) const;

  std::vector<Slot> slots_;
  double weight_decay_;
  Decay decay_;
};

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 5e-5;
  Decay decay = Decay::names;
};

/// AdamW (Loshchilov & Hutter 2019). State: `exp_avg/NAME`, `exp_avg_sq/NAME`, `step/NAME` for every parameter.
class AdamW : public Optimizer {
 public:
  AdamW(const NamedTensors& parameters, const AdamWOptions& options);

 private:
  void update(Group& group, double lr, const at::Tensor& skip) override;

  AdamWOptions options_;
};

struct SgdOptions {
  double momentum = 0.9;
  double weight_decay = 0.0;
  Decay decay = Decay::names;
};

/// `torch::optim::SGD` with momentum, undamped, and weight decay in the gradient. State: `momentum/NAME` for every parameter.
class Sgd : public Optimizer {
 public:
  Sgd(const NamedTensors& parameters, const SgdOptions& options);

 private:
  void update(Group& group, double lr, const at::Tensor& skip) override;

  SgdOptions options_;
};

/// Scales the gradients of `parameters` down so that their norm together is at most `limit`; returns the norm before, a scalar on
/// their device (undefined without gradients). The same as `torch::nn::utils::clip_grad_norm_`, without waiting for the device.
at::Tensor clip_gradients(const std::vector<at::Tensor>& parameters, double limit);

}  // namespace respeft::train
