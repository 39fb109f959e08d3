#pragma once

#include <optional>
#include <string>

#include <respeft/models/normalization.h>
#include <respeft/models/vit/vit.h>

// Other libraries' descriptions of a Vision Transformer.
namespace respeft::models::vit {

/// Transformers' `config.json` beside weights says what tensors do not: heads, activation, the norms' epsilon. Throws
/// `std::runtime_error` naming `file` and key where the model computes something else, or the text is no JSON object. Epsilons
/// below the model's 1e-6 pass: ViT's is 1e-12 there and 1e-6 in timm, for the same published weights.
void check_configuration(const VitConfig& model, const std::string& layout, const std::string& json, const std::string& file);

/// As `WeightMap::published_normalization`. Source: timm's `default_cfgs`.
std::optional<Normalization> published_normalization(const std::string& model, const std::string& file,
                                                     const std::string& layout);

}  // namespace respeft::models::vit
