#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include <respeft/methods/method.h>
#include <respeft/models/model.h>

namespace respeft {

/// One layer of a model, or a tensor outside all layers (`pos_embed`).
struct LayerSummary {
  std::string name;            ///< the base's key prefix, e.g. `blocks.3.attn.qkv`
  std::string kind;            ///< `linear`, `norm`, `patch`, `head` or `tensor`
  std::vector<int64_t> shape;  ///< of its weight
  int64_t frozen = 0;          ///< frozen parameters
  int64_t trained = 0;         ///< trainable parameters, including the adapter's
  /// The adapter's parameters, e.g. `scale_in [768], shift [768]`; empty if the layer has no adapter.
  std::string adapter;
};

/// The parameters of a model, by layer in the model's order and in total.
struct ModelSummary {
  std::vector<LayerSummary> layers;
  int64_t trained_adapters = 0;  ///< parameters of adapters
  int64_t trained_head = 0;      ///< parameters of the classifier
  int64_t trained_base = 0;      ///< trainable parameters of the base (with full fine-tuning)
  int64_t frozen = 0;            ///< frozen parameters
  int64_t trained() const { return trained_adapters + trained_head + trained_base; }
};

/// Counts the parameters of `model`, which may be on `at::kMeta`.
ModelSummary summarize(torch::nn::Module& model);

/// Cost of one training step. Bytes are those of tensors; memory of the allocator, of libraries and of running operations
/// comes on top.
struct TrainingCost {
  int64_t batch = 0;
  double forward_flops = 0;     ///< of the plain model on the batch, two per multiply-accumulate
  double step_flops = 0;        ///< matrix products and convolutions of forward and backward, adapters included
  int64_t parameter_bytes = 0;  ///< base, adapters and head
  int64_t optimizer_bytes = 0;  ///< gradients and AdamW's two moments of the trainable parameters
  int64_t recorded_bytes = 0;   ///< buffers that training updates
  int64_t saved_bytes = 0;      ///< saved for the backward, parameters excluded
  int64_t input_bytes = 0;      ///< the images
  int64_t total_bytes() const { return parameter_bytes + optimizer_bytes + recorded_bytes + saved_bytes + input_bytes; }
};

/// Counts one forward and backward of `model`, which must be on `at::kMeta`: only shapes are computed, and no memory is
/// allocated. Attention is counted as in LibTorch's fused kernels, which store no attention matrix. `attachment` comes from
/// attaching the method; its regularization is included. Throws `std::invalid_argument` on a model with data.
TrainingCost training_cost(models::Model& model, int64_t batch, const Attachment* attachment = nullptr);

/// Change of one weight matrix, from the singular value decompositions `W = U S Vᵀ` and `W' = U' S' V'ᵀ`.
/// Source: RLRR, Sec. 3.2 and Table 1.
struct WeightChange {
  std::string name;              ///< of the layer; with `.q`, … for one of several projections fused in a weight
  std::vector<int64_t> shape;    ///< `[out, in]`
  double relative_change = 0.0;  ///< ‖W' − W‖_F / ‖W‖_F
  double effective_rank =
      0.0;  ///< of W' − W: exponential of the entropy of its normalized singular values (Roy & Vetterli 2007); 0 if W' = W
  std::vector<double> singular_values;  ///< of W, descending
  std::vector<double> changed_values;   ///< of W', descending
  std::vector<double> left_angles;      ///< principal angles between the leading k left singular subspaces, radians, ascending
  std::vector<double> right_angles;     ///< the same for the right singular subspaces
};

/// Compares `base [out, in]` with `changed [out, in]` in float64. `k` is the number of leading singular directions, at most the
/// smaller side.
WeightChange compare_weights(const std::string& name, const at::Tensor& base, const at::Tensor& changed, int64_t k = 8);

/// A weight matrix of a model, `[out, in]`: a linear layer's, one of the projections fused in it, or the patch projection's.
struct WeightMatrix {
  std::string name;
  at::Tensor weight;  ///< a view of the model's parameter
};

/// The weight matrices of a plain model, in the model's order: two models of one architecture can be compared pair by pair.
/// Throws `std::invalid_argument` if an adapter is attached.
std::vector<WeightMatrix> weight_matrices(torch::nn::Module& model);

}  // namespace respeft
