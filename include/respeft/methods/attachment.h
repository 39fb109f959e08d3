#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <respeft/core/named_tensors.h>
#include <respeft/core/options.h>

namespace respeft {

/// A method attached to a model: the trainable parameters, the tensors that adapters share, and the method's training hooks.
///
/// A custom training loop calls it in every step (for most methods, neither call has an effect):
///
///     auto loss = …;
///     if (auto extra = adapters->regularization(); extra.defined()) loss = loss + extra;
///     loss.backward();
///     optimizer.step();
///     adapters->after_step(step, steps);
///     optimizer.zero_grad();
///
/// A method whose adapters share tensors returns a derived class. If that has parameters or buffers, it is registered in the
/// model under the name `kind()`, so that the model owns them and `.to(device)` moves them.
class Attachment : public torch::nn::Module {
 public:
  explicit Attachment(std::string kind = "attachment") : kind_(std::move(kind)) {}

  /// Its name as a submodule of the model.
  const std::string& kind() const { return kind_; }
  /// The method's registered name, and every option with its value.
  const std::string& method() const { return method_; }
  const Options& options() const { return options_; }

  /// Trainable parameters by name, in the model's order: adapters, shared tensors, and the head.
  const NamedTensors& trainable() const { return trainable_; }
  /// Buffers that training updates, by name; part of every checkpoint.
  const NamedTensors& state() const { return state_; }
  /// The tensors of `trainable()`, e.g. for an optimizer.
  std::vector<at::Tensor> trainable_parameters() const;
  /// Number of trainable scalars.
  int64_t parameter_count() const;

  /// A scalar to add to the loss of every step; undefined if the method has none.
  virtual at::Tensor regularization() const { return {}; }
  /// Call it after every optimizer step, before clearing the gradients. `step` counts from 1 to `steps`.
  virtual void after_step(int64_t /*step*/, int64_t /*steps*/) {}
  /// True if the parameters after `step` of `steps` may be a result; false while the method still changes them itself, e.g. until
  /// the last pruning.
  virtual bool finished(int64_t /*step*/, int64_t /*steps*/) const { return true; }
  /// True if the method itself changes parameters in `after_step`, so that a moving average of them is not meaningful.
  virtual bool changes_parameters() const { return false; }

 private:
  friend std::shared_ptr<Attachment> attach(torch::nn::Module&, const class Method&, const struct AttachOptions&);

  std::string kind_, method_;
  Options options_;
  NamedTensors trainable_, state_;
};

}  // namespace respeft
