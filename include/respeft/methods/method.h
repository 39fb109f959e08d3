#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/fields.h>
#include <respeft/nn/adapter.h>

namespace respeft {

/// What a method does while training besides the optimizer's steps. A training loop of one's own calls it in every step:
///
///     (loss + adapters.hook->penalty()).backward();
///     optimizer.step();
///     adapters.hook->after_step(step, steps);
///     optimizer.zero_grad();
class TrainingHook {
 public:
  virtual ~TrainingHook() = default;
  /// Added to the loss of every step: a scalar.
  virtual at::Tensor penalty() const = 0;
  /// To be called after every step of the optimizer, before the gradients are cleared. `step` counts from 1, to `steps`.
  virtual void after_step(int64_t step, int64_t steps) = 0;
  /// Whether what it changes has come to its end after `step` of `steps`, so that what is trained may be kept as the result.
  virtual bool settled(int64_t step, int64_t steps) const = 0;
  /// What decides its next step besides the parameters, by name: a checkpoint must hold it.
  virtual std::vector<std::pair<std::string, at::Tensor>> state() const = 0;
};

/// A way of fine-tuning: looks at each site of a model and returns an adapter for it, or nothing.
class Method {
 public:
  virtual ~Method() = default;

  /// The registered name, e.g. `rlrr`.
  virtual std::string name() const = 0;
  /// Every option with its value, so that `methods::create(name(), options())` makes an equal method.
  virtual Options options() const = 0;
  /// Called once with all sites before `adapt`: the place to check targets and to set up what adapters share.
  virtual void prepare(const std::vector<nn::NamedSite>& /*sites*/) {}
  /// An adapter for the site, with parameters of the site's weight's dtype and device; null to leave the site plain.
  virtual std::shared_ptr<nn::Adapter> adapt(const nn::SiteInfo& info, const nn::Site& site) = 0;
  /// What is to be done while the adapters train; asked for once they are made. Null for most methods.
  virtual std::shared_ptr<TrainingHook> hook() { return nullptr; }
  /// Whether the base's own parameter of this name is trained. Only full fine-tuning says yes.
  virtual bool trains_base(const std::string& /*parameter*/) const { return false; }
};

/// What `attach` found to train.
struct Attachment {
  std::string method;
  Options options;
  std::vector<std::pair<std::string, at::Tensor>> trained;  ///< by name, in the model's order
  /// What adapters and the hook note of what training showed, by name: a checkpoint must hold it.
  std::vector<std::pair<std::string, at::Tensor>> recorded;
  std::shared_ptr<TrainingHook> hook;  ///< to be called while training; null for most methods

  std::vector<at::Tensor> parameters() const;
  int64_t parameter_count() const;
};

struct AttachOptions {
  /// Prefixes of base parameters that are trained besides the adapters, and get none: a classifier's head.
  std::vector<std::string> also_train = {"head."};
};

/// Freezes every parameter of `model`, places `method`'s adapters at its sites and returns what is to be trained.
/// A model that has been merged is a base like any other.
/// Throws `std::invalid_argument` if an adapter is attached already, or if a target the method was given matches no site.
Attachment attach(torch::nn::Module& model, Method& method, const AttachOptions& options = {});
Attachment attach(torch::nn::Module& model, Method&& method, const AttachOptions& options = {});

/// Removes every adapter without merging it. The base is what it was.
void detach(torch::nn::Module& model);

namespace methods {

/// A method that the registry knows.
struct Entry {
  std::string name;
  std::string summary;  ///< one line
  std::string folds;    ///< `exactly`, `approximately`, `no`, or `already plain`
  Fields options;       ///< of defaults, which are not to be changed
  std::function<std::unique_ptr<Method>(const Options&)> create;
};

/// Every method, in the order they are documented.
const std::vector<Entry>& registry();
/// The entry of that name. Throws `std::invalid_argument` that suggests what may have been meant.
const Entry& find(const std::string& name);
/// A method by name. A missing option has its default; throws `std::invalid_argument` on an unknown name, option or value.
std::unique_ptr<Method> create(const std::string& name, const Options& options = {});

}  // namespace methods
}  // namespace respeft
