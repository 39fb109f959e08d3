#pragma once

#include <driver_types.h>

#include "cuda/cost.h"

/// Queries of the CUDA runtime.
namespace respeft::ops::cuda {

/// The current device.
const ::respeft::cuda::Architecture& gpu();

/// The current stream of the current device.
cudaStream_t stream();

/// Throws `c10::Error` if a launch failed.
void check(cudaError_t status);

}  // namespace respeft::ops::cuda
