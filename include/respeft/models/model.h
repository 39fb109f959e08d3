#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <respeft/core/batch.h>
#include <respeft/nn/forward_pass.h>

namespace respeft::models {

class ModelFamily;

/// Options of a model; everything else follows from its name. A family may reject options that it does not support.
struct ModelOptions {
  int64_t num_classes = 1000;         ///< 0 leaves the head out: `forward` returns the pooled features
  std::optional<int64_t> image_size;  ///< pixels per side; default: that of the name
  std::string pool = "";              ///< `token` (class token) or `avg` (mean over patches); default: that of the name
  double drop_path = 0.0;        ///< stochastic depth: a sample's whole branch is dropped; grows linearly with depth to this rate
  double branch_dropout = 0.0;   ///< element dropout on each branch's output; grows linearly with depth to this rate
  at::Device device = at::kCPU;  ///< `at::kMeta`: a model with shapes but without data
};

/// Describes the main input of a model.
struct InputSpec {
  std::string name = kPixels;  ///< of the batch's tensor
  std::vector<int64_t> shape;  ///< of one example, e.g. `[3, 224, 224]`
  at::ScalarType dtype = at::kFloat;
  int64_t values = 1;  ///< for integers: they are in 0 … values − 1

  /// Pixels per side of a square image.
  int64_t side() const { return shape.back(); }
  /// `batch` random examples, the same at every call: normally distributed, or valid integers. Without data on `at::kMeta`.
  Batch example(int64_t batch, at::Device device = at::kCPU) const;
};

/// A network whose layers are sites, made by a family.
class Model : public torch::nn::Module {
 public:
  /// A batch with the main input (and any other inputs of the model) -> the output, e.g. logits `[B, num_classes]`.
  virtual at::Tensor forward(const Batch& batch, nn::ForwardPass& pass) = 0;
  /// The same with a new pass.
  at::Tensor forward(const Batch& batch);
  /// The same for the main input alone.
  at::Tensor forward(const at::Tensor& input, nn::ForwardPass& pass);
  at::Tensor forward(const at::Tensor& input);

  /// The architecture's name, e.g. timm's.
  virtual const std::string& name() const = 0;
  virtual const ModelFamily& family() const = 0;
  virtual InputSpec input() const = 0;
  /// Number of outputs of the head; 0: the model has no head.
  virtual int64_t num_classes() const = 0;
  /// Replaces the head by one of zeros, so that every class is equally likely. Fine-tuning starts with it.
  virtual void reset_head(int64_t num_classes) = 0;
  /// Multiply-accumulate operations of one example's forward pass through the plain model.
  virtual int64_t macs() const = 0;

  /// The first part of `forward`: the head's input `[B, D]`.
  virtual at::Tensor features(const Batch& batch, nn::ForwardPass& pass) = 0;
  /// The second part: the head's output for `features`.
  virtual at::Tensor classify(const at::Tensor& features) = 0;

 protected:
  /// A batch with only the main input.
  Batch batch_of(const at::Tensor& input) const;
};

/// Makes a model with random weights by its architecture's name, e.g. `vit_base_patch16_224`. A tag after a dot
/// (`.augreg_in21k`) is ignored. Throws `std::invalid_argument` on an unknown name, with the nearest known one, and on
/// unsupported options.
std::shared_ptr<Model> create(const std::string& name, const ModelOptions& options = {});

/// The names of the published architectures that `create` knows. It also accepts other combinations of a family's sizes.
std::vector<std::string> list();

}  // namespace respeft::models
