#pragma once

#include <memory>

#include <respeft/nn/adapter.h>

#include "src/methods/low_rank.h"

// LoRA at layers that are not linear, with PEFT's shapes and names.
namespace respeft::methods {

/// `y = conv(x, W) + b + s · conv1×1(conv(drop(x), A), B)` with `lora_A [r, in, kH, kW]` and `lora_B [out, r, 1, 1]`. Folds
/// exactly. Throws `std::invalid_argument` on a convolution with groups and on ranks that are to be allocated.
std::shared_ptr<nn::Adapter> lora_convolution(const nn::NamedSite& named, const LowRankOptions& options);

/// `y = E[i] + s · (A[:, i])ᵀ Bᵀ` with `lora_embedding_A [r, rows]`, zero at the start, and `lora_embedding_B [dim, r]`. Folds
/// exactly. Dropout has no place here, as in PEFT. Throws `std::invalid_argument` on ranks that are to be allocated.
std::shared_ptr<nn::Adapter> lora_embedding(const nn::NamedSite& named, const LowRankOptions& options);

}  // namespace respeft::methods
