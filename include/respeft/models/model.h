#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <respeft/nn/forward_pass.h>

namespace respeft::models {

/// What a user may choose about a model; the rest follows from its name.
struct ModelOptions {
  int64_t num_classes = 1000;           ///< 0 leaves the head out: `forward` returns the pooled features
  std::optional<int64_t> image_size;    ///< pixels; default: the name's
  std::string pool = "";                ///< `token` (class token) or `avg` (mean over patches); default: the name's
  double drop_path = 0.0;               ///< stochastic depth: a sample's whole branch is dropped; grows linearly with depth to this rate
  double branch_dropout = 0.0;          ///< element dropout on each branch's output; grows linearly with depth to this rate
  at::Device device = at::kCPU;         ///< `at::kMeta` makes a model of shapes alone
};

/// An image classifier made of plain layers with sites. Its state-dict keys are timm's.
class ImageModel : public torch::nn::Module {
 public:
  /// Normalized images `[B, 3, H, W]` -> logits `[B, num_classes]`, in a pass of its own.
  at::Tensor forward(const at::Tensor& images);
  virtual at::Tensor forward(const at::Tensor& images, nn::ForwardPass& pass) = 0;

  /// timm's name of the architecture.
  virtual const std::string& name() const = 0;
  virtual int64_t image_size() const = 0;
  virtual int64_t num_classes() const = 0;
  /// Replaces the classifier by a new one: zeros, so that every class is equally likely, which is how fine-tuning starts.
  virtual void reset_head(int64_t num_classes) = 0;
  /// Multiply-accumulate operations of one image's forward pass through the plain model.
  virtual int64_t macs_per_image() const = 0;

  /// The first part of `forward`: images -> what the head reads, `[B, D]`.
  virtual at::Tensor features(const at::Tensor& images, nn::ForwardPass& pass) = 0;
  /// The rest: the head's logits for `features`.
  virtual at::Tensor classify(const at::Tensor& features) = 0;
};

/// A model by timm's name, e.g. `vit_base_patch16_224`, with random weights. A tag after a dot (`.augreg_in21k`) is ignored.
/// Throws `std::invalid_argument` that suggests what may have been meant.
std::shared_ptr<ImageModel> create(const std::string& name, const ModelOptions& options = {});

/// The names of published architectures that `create` knows (it accepts other combinations of size, patch and image size too).
std::vector<std::string> list();

}  // namespace respeft::models
