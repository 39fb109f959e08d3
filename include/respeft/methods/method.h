#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <respeft/core/fields.h>
#include <respeft/core/options.h>
#include <respeft/methods/attachment.h>
#include <respeft/nn/adapter.h>
#include <respeft/nn/names.h>

namespace respeft {

/// A fine-tuning method: attaches adapters to the sites of a model. It stores only its options.
class Method {
 public:
  virtual ~Method() = default;

  /// The registered name, e.g. `rlrr`.
  virtual std::string name() const = 0;
  /// Every option with its value: `methods::create(name(), options())` makes an equal method.
  virtual Options options() const = 0;
  /// Throws `std::invalid_argument` if the options do not fit a model with these sites, e.g. a target that matches none.
  virtual void check(const std::vector<nn::NamedSite>& /*sites*/) const {}
  /// Attaches adapters to the sites that the options choose, with parameters of each site's dtype and device, and returns an
  /// attachment that owns the shared tensors.
  virtual std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const = 0;
  /// True if the base's parameter of this name is trained itself, as in full fine-tuning.
  virtual bool trains_base(const std::string& /*parameter*/) const { return false; }
};

/// A method that adapts each site independently of the others.
class SiteMethod : public Method {
 public:
  /// An adapter for the site; null: none.
  virtual std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& site) const = 0;

  std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const override;
};

struct AttachOptions {
  /// Name prefixes of base parameters that are trained directly and get no adapters: the head.
  std::vector<std::string> also_train = {std::string(nn::kHeadPrefix)};
  /// Sites for which this returns false get no adapter; null: all sites may.
  std::function<bool(const nn::SiteInfo&)> only = nullptr;
  /// Call the method's `check`. False for adapters read from a file, whose tensors are checked instead.
  bool check = true;
};

/// Freezes every parameter of `model`, attaches `method`'s adapters to its sites and returns the attachment with the trainable
/// parameters. A merged model can be a base again. Throws `std::invalid_argument` if an adapter is already attached, or if a
/// target of the method matches no site.
std::shared_ptr<Attachment> attach(torch::nn::Module& model, const Method& method, const AttachOptions& options = {});

/// Removes every adapter without merging it. The base does not change.
void detach(torch::nn::Module& model);

/// The attachment that `attach` registered in `model`; null if there is none.
std::shared_ptr<Attachment> find_attachment(torch::nn::Module& model);

namespace methods {

/// A registered method.
struct Entry {
  std::string name;
  std::string summary;  ///< one line
  std::string folds;    ///< `exactly`, `approximately`, `no`, or `already plain`
  Fields options;       ///< with default values; do not modify
  std::function<std::unique_ptr<Method>(const Options&)> create;
};

/// Every method, in the order of the documentation.
const std::vector<Entry>& registry();
/// The entry of that name. Throws `std::invalid_argument` that suggests a similar name.
const Entry& find(const std::string& name);
/// Makes a method. Missing options have their defaults. Throws `std::invalid_argument` on an unknown name, option or value.
std::unique_ptr<Method> create(const std::string& name, const Options& options = {});

}  // namespace methods
}  // namespace respeft
