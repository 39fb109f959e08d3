#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <respeft/nn/forward_pass.h>

namespace respeft::nn {

class Adapter;
class WeightAdapter;

/// The kind of a site, which determines the type of its adapter.
enum class SiteKind {
  Linear,       ///< `y = x Wᵀ + b`, possibly several logical projections fused in one weight
  Convolution,  ///< a two-dimensional convolution
  Norm,         ///< a layer normalization with weight (gain) and bias
  Patch,        ///< the projection of image patches to tokens
  Embedding,    ///< a table of vectors, looked up by index
  Branch,       ///< a residual branch of a block (attention, MLP): its input and its output
  Tokens,       ///< the tokens that enter a block
};

/// `"linear"`, `"convolution"`, `"norm"`, `"patch"`, `"embedding"`, `"branch"` or `"tokens"`.
const char* to_string(SiteKind kind);

/// True if sites of this kind have a weight that an adapter can fold into: all except branches and tokens.
bool has_weight(SiteKind kind);

/// A contiguous range of the logical projections fused in a linear's weight.
struct PartRange {
  int64_t begin = 0;
  int64_t end = 1;
  int64_t size() const { return end - begin; }
};

/// The position of a site in its model. The model sets it; it is never derived from names.
struct SitePlace {
  std::string role;    ///< e.g. `qkv`, `proj`, `fc1`, `norm1`, `patch`; empty: the name that its module is registered under
  int64_t block = -1;  ///< index of the block; -1 outside the blocks
};

/// Describes a site, i.e. a layer or another place in a model that can have an adapter.
struct SiteInfo {
  std::string name;  ///< the base's key prefix, e.g. `blocks.3.attn.qkv`
  SiteKind kind = SiteKind::Linear;
  std::string role;
  int64_t block = -1;
  int64_t in_features = 0;
  int64_t out_features = 0;
  std::vector<std::string>
      parts;  ///< names of the logical projections in the weight's rows, of equal height: `{q, k, v}`, or `{role}`
  at::TensorOptions tensor_options = {};  ///< dtype and device for an adapter's parameters: those of the weight, or of the model

  int64_t part_features() const { return out_features / static_cast<int64_t>(parts.size()); }
};

/// A module with a slot for one adapter, which is registered as its submodule `adapter`: the adapter's parameters have the prefix
/// `<site>.adapter.`.
class Site : public torch::nn::Module {
 public:
  virtual SiteKind kind() const = 0;
  /// Size of the input and of the output: features, channels, or for an embedding the number of rows and their width.
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  /// Names of the logical projections fused in the weight; empty when the layer is a single one.
  virtual const std::vector<std::string>& part_names() const;
  int64_t parts() const;

  const SitePlace& place() const { return place_; }
  void set_place(SitePlace place) { place_ = std::move(place); }

  Adapter* adapter() const { return adapter_.get(); }
  /// Attaches `adapter`. Throws `c10::Error` if the site already has an adapter, or if `adapter` is for another kind of site.
  void attach(std::shared_ptr<Adapter> adapter);
  /// Removes and returns the adapter.
  std::shared_ptr<Adapter> detach();

 protected:
  /// True if this site can have an adapter of this type.
  virtual bool accepts(const Adapter& adapter) const = 0;

 private:
  SitePlace place_;
  std::shared_ptr<Adapter> adapter_;
};

/// A layer with a frozen weight and bias; layers derive from it.
class WeightSite : public Site {
 public:
  /// The plain layer's output for `x` with the given weight and bias.
  virtual at::Tensor compute(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const = 0;
  /// The dimension of the output that holds `out_features`: the last one, or a convolution's channels.
  virtual int64_t output_dim() const { return -1; }

  WeightAdapter* weight_adapter() const;

  /// The layer's output in a forward pass, computed by its adapter if it has one. A layer's `forward(x)` calls this with a new
  /// pass. With a fused weight, computes only the parts in `range`: `[..., range.size() · out_features / parts]`.
  at::Tensor run(const at::Tensor& x, ForwardPass& pass, PartRange range) const;
  at::Tensor run(const at::Tensor& x, ForwardPass& pass) const { return run(x, pass, {0, parts()}); }

  /// Replaces weight and bias by merged tensors. Does not write to the old tensors, which other models may share. Adds a bias if
  /// the layer has none and `new_bias` is defined. Sets the merged flag: a forward pass in training mode that records gradients
  /// then throws `c10::Error`, because there is nothing to train.
  void replace_base(const at::Tensor& new_weight, const at::Tensor& new_bias);
  /// Clears the merged flag. Called by `attach`.
  void allow_training() { merged_ = false; }

  at::Tensor weight;
  at::Tensor bias;  ///< undefined when the layer has none

 protected:
  bool accepts(const Adapter& adapter) const override;
  /// `run` with a new pass.
  at::Tensor run(const at::Tensor& x) const;

 private:
  void put(const std::string& name, at::Tensor& slot, const at::Tensor& value);

  bool merged_ = false;
};

/// A site and its description.
struct NamedSite {
  SiteInfo info;
  Site* site;  ///< owned by the model

  /// The site as a layer with a weight; null for branches and tokens.
  WeightSite* layer() const { return dynamic_cast<WeightSite*>(site); }
};

/// All sites of `model` in the order its modules were registered, which is the forward order in this library's models.
std::vector<NamedSite> find_sites(torch::nn::Module& model);

}  // namespace respeft::nn
