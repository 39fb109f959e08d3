#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include <respeft/core/runtime.h>
#include <respeft/models/model.h>
#include <respeft/tasks/registry.h>

namespace respeft::tasks {

/// Replaces the pixels of every split by the features that the model's head reads, computed once. Correct only if
/// `fixed_inputs` is true, only the head is trained and the model draws no random numbers. `progress(split, done, total)` is
/// called after each batch.
void precompute_features(Assignment& assignment, models::Model& model, const Runtime& runtime, int64_t batch_size,
                         const std::function<void(const std::string&, int64_t, int64_t)>& progress);

}  // namespace respeft::tasks
