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

/// An optimizer of named parameters. It uses ATen's fused kernels, which update hundreds of small tensors in one call. Its state
/// is named too, so that it can be saved.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  /// One step with the parameters' gradients; parameters without a gradient do not change. `skip` is a float32 scalar on the
  /// parameters' device: if it is 1, nothing changes (undefined: 0). This skips a step without synchronizing with the device.
  void step(double lr, const at::Tensor& skip = {});
  void zero_grad();

  /// Everything except the parameters that the next step depends on. The tensors are the optimizer's own, not copies.
  TensorMap state() const;
  /// Copies the state from `tensors`; ignores other tensors in it. Throws `std::runtime_error` that names a missing key or a
  /// wrong shape.
  void load_state(const TensorMap& tensors);

 protected:
  /// Parameters that are updated in one call, with their gradients and one list for each kind of state.
  struct Group {
    std::vector<at::Tensor> parameters, gradients;
    std::map<std::string, std::vector<at::Tensor>> state;
    double weight_decay = 0.0;
  };

  Optimizer(const NamedTensors& parameters, double weight_decay, Decay decay);
  Optimizer(Optimizer&&) = default;
  Optimizer& operator=(Optimizer&&) = default;

  /// Adds a state tensor for every parameter: zeros of the parameter's shape, or with `scalar` a float32 scalar.
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

/// SGD with momentum as `torch::optim::SGD`: no dampening, weight decay added to the gradient. State: `momentum/NAME` for every
/// parameter.
class Sgd : public Optimizer {
 public:
  Sgd(const NamedTensors& parameters, const SgdOptions& options);

 private:
  void update(Group& group, double lr, const at::Tensor& skip) override;

  SgdOptions options_;
};

/// Scales the gradients of `parameters` so that their total norm is at most `limit`. Returns the norm before, a scalar on their
/// device (undefined without gradients). As `torch::nn::utils::clip_grad_norm_`, without synchronizing with the device.
at::Tensor clip_gradients(const std::vector<at::Tensor>& parameters, double limit);

}  // namespace respeft::train
