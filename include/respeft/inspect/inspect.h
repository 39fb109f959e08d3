#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include <respeft/methods/method.h>
#include <respeft/models/model.h>

namespace respeft {

/// One layer of a model, or a tensor that belongs to none (`pos_embed`).
struct LayerSummary {
  std::string name;            ///< the base's key prefix, e.g. `blocks.3.attn.qkv`
  std::string kind;            ///< `linear`, `norm`, `patch`, `head` or `tensor`
  std::vector<int64_t> shape;  ///< of its weight
  int64_t frozen = 0;          ///< parameters
  int64_t trained = 0;         ///< parameters, the adapter's included
  /// The adapter's own parameters, e.g. `scale_in [768], shift [768]`; empty when the layer has none.
  std::string adapter;
};

/// What a model consists of, by layer in the model's order, and in total.
struct ModelSummary {
  std::vector<LayerSummary> layers;
  int64_t trained_adapters = 0;  ///< parameters of adapters
  int64_t trained_head = 0;      ///< parameters of the classifier
  int64_t trained_base = 0;      ///< the base's own parameters that are trained (biases, or everything)
  int64_t frozen = 0;            ///< parameters
  int64_t trained() const { return trained_adapters + trained_head + trained_base; }
};

/// Works on models of shapes alone (`at::kMeta`) too.
ModelSummary summarize(torch::nn::Module& model);

/// What one training step at a batch size costs. Bytes are those of the tensors; what an allocator, a library or the
/// program itself needs, and what an operation needs only while it runs, comes on top.
struct TrainingCost {
  int64_t batch = 0;
  double forward_flops = 0;     ///< of the batch, through the plain model: two a multiply-accumulate
  double step_flops = 0;        ///< of the matrix products and convolutions of forward and backward, adapters included
  int64_t parameter_bytes = 0;  ///< base, adapters and head
  int64_t optimizer_bytes = 0;  ///< of what is trained: gradients, and AdamW's two moments
  int64_t recorded_bytes = 0;   ///< of what adapters and the hook note of the steps so far
  int64_t saved_bytes = 0;      ///< kept from the forward for the backward, parameters excluded
  int64_t input_bytes = 0;      ///< the images
  int64_t total_bytes() const { return parameter_bytes + optimizer_bytes + recorded_bytes + saved_bytes + input_bytes; }
};

/// Runs one forward and backward of `model`, which must be on `at::kMeta` (shapes alone: nothing is computed and no memory
/// taken), and counts. Attention is counted as LibTorch's fused kernels do it, which keep no matrix of attention weights.
/// `attachment` is what attaching the method gave: its regularization is part of the step.
/// Throws `std::invalid_argument` on a model with data.
TrainingCost training_cost(models::Model& model, int64_t batch, const Attachment* attachment = nullptr);

/// How one weight matrix changed, seen through singular value decompositions `W = U S Vᵀ`, `W' = U' S' V'ᵀ`.
/// Source: RLRR, Sec. 3.2 and Table 1.
struct WeightChange {
  std::string name;              ///< the layer; with `.q`, … for one of several projections fused in a weight
  std::vector<int64_t> shape;    ///< `[out, in]`
  double relative_change = 0.0;  ///< ‖W' − W‖_F / ‖W‖_F
  double effective_rank =
      0.0;  ///< of W' − W: the exponential of its normalized singular values' entropy (Roy & Vetterli 2007); 0 when equal
  std::vector<double> singular_values;  ///< of W, descending
  std::vector<double> changed_values;   ///< of W', descending
  std::vector<double> left_angles;      ///< principal angles between the leading k left singular subspaces, radians, ascending
  std::vector<double> right_angles;     ///< the same for the right ones
};

/// Compares `base [out, in]` with `changed [out, in]`, in float64, by the leading `k` directions (at most the smaller side).
WeightChange compare_weights(const std::string& name, const at::Tensor& base, const at::Tensor& changed, int64_t k = 8);

/// A weight matrix of a model: a linear's (one of those fused in it), or the patch projection's, `[out, in]`.
struct WeightMatrix {
  std::string name;
  at::Tensor weight;  ///< a view of the model's own
};

/// The plain model's weight matrices, in its order, so that two models of one architecture can be compared pair by pair.
/// Throws `std::invalid_argument` if an adapter is attached.
std::vector<WeightMatrix> weight_matrices(torch::nn::Module& model);

}  // namespace respeft
