#pragma once

#include <optional>
#include <string>

#include <respeft/models/normalization.h>
#include <respeft/models/vit/vit.h>

// Other libraries' descriptions of a Vision Transformer.
namespace respeft::models::vit {

/// Checks the configuration beside weights in `layout` for what tensors do not say: heads, activation, the norms' epsilon,
/// pooling. Of `huggingface` that is Transformers' `config.json`, of `timm` timm's, where every argument of the model must be one
/// that is understood. Throws `std::runtime_error` naming `file` and key where the model computes something else, or the text is
/// no JSON object. Transformers' epsilons below the model's 1e-6 pass: ViT's is 1e-12 there and 1e-6 in timm, for the same
/// published weights.
void check_configuration(const VitConfig& model, const std::string& layout, const std::string& text, const std::string& file);

/// As `WeightMap::published_normalization`. Source: timm's `default_cfgs`.
std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                     const std::string& layout);

}  // namespace respeft::models::vit
