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

/// What a method placed in a model: what is trained, what adapters share, and what the method does besides the optimizer's steps.
///
/// A training loop of one's own calls it in every step (methods that need neither call leave both without effect):
///
///     auto loss = …;
///     if (auto extra = adapters->regularization(); extra.defined()) loss = loss + extra;
///     loss.backward();
///     optimizer.step();
///     adapters->after_step(step, steps);
///     optimizer.zero_grad();
///
/// Methods derive from it where their adapters share tensors. It is registered in the model, under the name of its `kind`, where it
/// has parameters or buffers, so that `.to(device)` moves them and the model owns them.
class Attachment : public torch::nn::Module {
 public:
  explicit Attachment(std::string kind = "attachment") : kind_(std::move(kind)) {}

  /// The name that it is registered under in the model.
  const std::string& kind() const { return kind_; }
  /// The method's registered name, and every option with its value.
  const std::string& method() const { return method_; }
  const Options& options() const { return options_; }

  /// What is trained, by name, in the model's order: adapters, what they share, and the head.
  const NamedTensors& trainable() const { return trainable_; }
  /// Buffers that training updates, by name; part of every checkpoint.
  const NamedTensors& state() const { return state_; }
  /// The tensors of `trainable`, as optimizers take them.
  std::vector<at::Tensor> trainable_parameters() const;
  /// Numbers in `trainable`.
  int64_t parameter_count() const;

  /// A scalar that is added to the loss of every step; undefined where the method has none.
  virtual at::Tensor regularization() const { return {}; }
  /// To be called after every step of the optimizer, before the gradients are cleared. `step` counts from 1, to `steps`.
  virtual void after_step(int64_t /*step*/, int64_t /*steps*/) {}
  /// True if the parameters after `step` of `steps` may be kept as a result; false while a method is still changing them itself.
  virtual bool finished(int64_t /*step*/, int64_t /*steps*/) const { return true; }
  /// True if the method itself changes parameters in `after_step`, so that averages over the steps make no sense.
  virtual bool changes_parameters() const { return false; }

 private:
  friend std::shared_ptr<Attachment> attach(torch::nn::Module&, const class Method&, const struct AttachOptions&);

  std::string kind_, method_;
  Options options_;
  NamedTensors trainable_, state_;
};

}  // namespace respeft
