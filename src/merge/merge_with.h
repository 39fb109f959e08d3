#pragma once

#include <respeft/merge/merge.h>
#include <respeft/nn/adapter.h>

#include <functional>

namespace respeft {

/// `merge` with folds of the caller's choice: all are computed before the first site is changed.
MergeReport merge_with(torch::nn::Module& model, const std::function<nn::Fold(const nn::Site&)>& fold);

}  // namespace respeft
