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

/// A fine-tuning method: places adapters at the sites of a model. It holds its options only.
class Method {
 public:
  virtual ~Method() = default;

  /// The registered name, e.g. `rlrr`.
  virtual std::string name() const = 0;
  /// Every option with its value, so that `methods::create(name(), options())` makes an equal method.
  virtual Options options() const = 0;
  /// Throws `std::invalid_argument` if the options do not fit a model with these sites, e.g. a target that matches none.
  virtual void check(const std::vector<nn::NamedSite>& /*sites*/) const {}
  /// Places adapters at the sites it adapts, with parameters of the site's dtype and device, and returns their shared part.
  virtual std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const = 0;
  /// True if the base's own parameter of this name is trained. Only full fine-tuning says so.
  virtual bool trains_base(const std::string& /*parameter*/) const { return false; }
};

/// A method that looks at each site by itself.
class SiteMethod : public Method {
 public:
  /// An adapter for the site; null to leave it plain.
  virtual std::shared_ptr<nn::Adapter> adapt(const nn::NamedSite& site) const = 0;

  std::shared_ptr<Attachment> attach(const std::vector<nn::NamedSite>& sites) const override;
};

struct AttachOptions {
  /// Prefixes of base parameters that are trained besides the adapters, and get none: the head's.
  std::vector<std::string> also_train = {std::string(nn::kHeadPrefix)};
  /// Sites for which this is false stay plain; null: none.
  std::function<bool(const nn::SiteInfo&)> only = nullptr;
  /// Whether the method checks that its options fit the model. Not for adapters out of a file, whose tensors say whether they
  /// fit.
  bool check = true;
};

/// Freezes every parameter of `model`, places `method`'s adapters at its sites and returns the attachment with the trainable
/// parameters. A merged model is a base like any other. Throws `std::invalid_argument` if an adapter is already attached, or if
/// a target of the method matches no site.
std::shared_ptr<Attachment> attach(torch::nn::Module& model, const Method& method, const AttachOptions& options = {});

/// Removes every adapter without merging it. The base does not change.
void detach(torch::nn::Module& model);

/// The attachment that `attach` registered in `model`; null if there is none.
std::shared_ptr<Attachment> find_attachment(torch::nn::Module& model);

namespace methods {

/// A method that the registry knows.
struct Entry {
  std::string name;
  std::string summary;  ///< one line
  std::string folds;    ///< `exactly`, `approximately`, `no`, or `already plain`
  Fields options;       ///< of defaults, which are not to be changed
  std::function<std::unique_ptr<Method>(const Options&)> create;
};

/// Every method, in the order of the documentation.
const std::vector<Entry>& registry();
/// The entry of that name. Throws `std::invalid_argument` that suggests a similar name.
const Entry& find(const std::string& name);
/// A method by name. A missing option has its default; throws `std::invalid_argument` on an unknown name, option or value.
std::unique_ptr<Method> create(const std::string& name, const Options& options = {});

}  // namespace methods
}  // namespace respeft
