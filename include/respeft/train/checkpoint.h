#pragma once

#include <string>

#include <respeft/formats/safetensors.h>
#include <respeft/train/record.h>

namespace respeft::train {

/// Everything needed to continue a run, in one safetensors file.
struct Checkpoint {
  /// `trained/NAME`, `ema/NAME` (if there is a moving average), `best/NAME` (if the best epoch is not the last), the optimizer's
  /// state, the runtime's generators, and inside an epoch `epoch/sums` (of the metrics) and `epoch/mixing` (a generator).
  TensorMap tensors;
  RunProgress progress;
  std::string frozen_sha256;  ///< of the frozen base in memory (`models::base_sha256`), not of its weights file
};

/// Replaces the file atomically. Throws `std::runtime_error` with the path and the system's reason.
void save_checkpoint(const std::string& path, const Checkpoint& checkpoint);
/// Throws `std::runtime_error` that names the file and the fault.
Checkpoint load_checkpoint(const std::string& path);

}  // namespace respeft::train
