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

/// What a site's layer computes, and so what an adapter there can fold into.
enum class SiteKind {
  Linear,  ///< `y = x Wᵀ + b`, possibly several logical projections fused in one weight
  Norm,    ///< a layer normalization with weight (gain) and bias
  Patch,   ///< the projection of image patches to tokens
};

/// `"linear"`, `"norm"` or `"patch"`.
const char* to_string(SiteKind kind);

/// A contiguous range of the logical projections fused in a linear's weight.
struct PartRange {
  int64_t begin = 0;
  int64_t end = 1;
  int64_t size() const { return end - begin; }
};

/// A site as methods see it: a place in a model where an adapter may sit.
struct SiteInfo {
  std::string name;  ///< the base's key prefix, e.g. `blocks.3.attn.qkv`
  SiteKind kind = SiteKind::Linear;
  std::string role;    ///< the layer's own name, e.g. `qkv`, `proj`, `fc1`, `norm1`; `patch` for the patch projection
  int64_t block = -1;  ///< index of the block, the first number in the name; -1 outside the blocks
  int64_t in_features = 0;
  int64_t out_features = 0;
  std::vector<std::string> parts;  ///< names of the logical projections in the weight's rows, equally high: `{q, k, v}`, or `{role}`

  int64_t part_features() const { return out_features / static_cast<int64_t>(parts.size()); }
};

/// A layer with a frozen weight and bias and a slot for one adapter; layers derive from it.
///
/// An adapter is registered as the submodule `adapter`, so that its parameters are found under `<site>.adapter.`.
class Site : public torch::nn::Module {
 public:
  virtual SiteKind kind() const = 0;
  virtual int64_t in_features() const = 0;
  virtual int64_t out_features() const = 0;
  /// Names of the logical projections fused in the weight; empty when the layer is a single one.
  virtual const std::vector<std::string>& part_names() const;
  /// The plain layer's output for `x` with the given weight and bias.
  virtual at::Tensor compute(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) const = 0;

  int64_t parts() const;
  Adapter* adapter() const { return adapter_.get(); }

  /// Puts `adapter` at this site. Throws if one is there already.
  void attach(std::shared_ptr<Adapter> adapter);
  /// Takes the adapter away; the layer computes the plain function again.
  std::shared_ptr<Adapter> detach();
  /// Replaces weight and bias by new tensors, into which an adapter was merged; the old ones, which other models may share, are
  /// not written. A bias is added to a layer that has none when `new_bias` is defined. From now on a forward pass in training
  /// mode that records gradients throws, as what was trained is no longer apart; a new `attach` ends that.
  void replace_base(const at::Tensor& new_weight, const at::Tensor& new_bias);

  /// The layer may be trained again after a merge: `attach` has decided anew what is trained.
  void allow_training() { merged_ = false; }

  at::Tensor weight;
  at::Tensor bias;  ///< undefined when the layer has none

 protected:
  /// The layer's output: the adapter's, where there is one. Of a fused weight only the parts in `range`.
  at::Tensor run(const at::Tensor& x, ForwardPass& pass, PartRange range) const;
  at::Tensor run(const at::Tensor& x, ForwardPass& pass) const { return run(x, pass, {0, parts()}); }

 private:
  void put(const std::string& name, at::Tensor& slot, const at::Tensor& value);

  std::shared_ptr<Adapter> adapter_;
  bool merged_ = false;
};

/// A site found in a model.
struct NamedSite {
  SiteInfo info;
  Site* site;  ///< owned by the model
};

/// All sites of `model` in the order its modules were registered, which is the forward order in this library's models.
std::vector<NamedSite> find_sites(torch::nn::Module& model);

}  // namespace respeft::nn
