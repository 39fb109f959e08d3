#pragma once

#include <string>

#include <respeft/models/model.h>

namespace respeft::models {

/// Transformers' `config.json` beside the weights at `path` says what tensors do not: heads, activation, the norms' epsilon.
/// Throws `std::runtime_error` naming file and key where the model computes something else, or the file is no JSON. Epsilons
/// below the model's 1e-6 pass: ViT's is 1e-12 there and 1e-6 in timm, for the same published weights.
void check_huggingface_config(const models::ImageModel& model, const std::string& path);

}  // namespace respeft::models
