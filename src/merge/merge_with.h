#pragma once

#include <respeft/merge/merge.h>
#include <respeft/nn/adapter.h>

#include <functional>
#include <optional>

namespace respeft {

/// `merge` with folds of the caller's choice: all are computed before the first site is changed. Throws `std::invalid_argument`
/// where `fold` gives nothing.
MergeReport merge_with(torch::nn::Module& model, const std::function<std::optional<nn::Fold>(const nn::WeightSite&)>& fold);

}  // namespace respeft
