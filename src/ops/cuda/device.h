#pragma once

#include <driver_types.h>

#include "cuda/cost.h"

/// What the operators ask of CUDA's runtime.
namespace respeft::ops::cuda {

/// The current device.
const ::respeft::cuda::Architecture& gpu();

/// The current stream of the current device.
cudaStream_t stream();

/// Throws a c10::Error if a launch failed.
void check(cudaError_t status);

}  // namespace respeft::ops::cuda
