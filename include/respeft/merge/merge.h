#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <optional>
#include <string>
#include <vector>

namespace respeft {

/// Result of merging at one site.
struct MergedSite {
  std::string name;
  bool exact = true;           ///< the fold equals the adapted layer up to rounding
  bool adds_bias = false;      ///< the plain layer had no bias and now has one
  double weight_change = 0.0;  ///< ‖W' − W‖_F / ‖W‖_F
  double bias_change = 0.0;    ///< ‖b' − b‖ / ‖b‖ (‖b'‖ where b is absent or zero)
};

struct MergeReport {
  std::vector<MergedSite> sites;
  bool exact() const;
};

/// True if any site of `model` has an adapter.
bool has_adapters(torch::nn::Module& model);

/// The first site whose adapter cannot be merged in any way, which a model must be deployed with; empty where every adapter can.
std::string unmergeable_site(torch::nn::Module& model);

/// Folds every adapter of `model` into its site's own weight and bias, and removes it. The base's tensors are replaced, not
/// written: other models may share them. After a merge, a forward pass in training mode that records gradients throws
/// `c10::Error` until `attach` is called again; call `eval()` first. Throws `std::invalid_argument` and changes nothing if
/// nothing is attached (a merged model cannot be merged again), or if an adapter folds only approximately (ResLoRA's input and
/// middle shortcuts; see merge/shortcut.h) or not at all (branches, tokens).
MergeReport merge(torch::nn::Module& model);

/// Comparison of two models' logits for the same images.
struct Comparison {
  int64_t images = 0;
  double max_difference = 0.0;     ///< largest |difference| of a logit
  double relative_difference = 0;  ///< that, divided by the largest |logit| of the first
  double agreement = 0.0;          ///< share of images with the same prediction
  std::optional<double> accuracy_first, accuracy_second;
};

/// Compares logits `[N, classes]`; accuracies are given where `labels [N]` (int64) is defined.
Comparison compare_logits(const at::Tensor& first, const at::Tensor& second, const at::Tensor& labels = {});

}  // namespace respeft
