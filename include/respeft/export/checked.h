#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include <respeft/export/export.h>
#include <respeft/merge/certificate.h>

namespace respeft {

struct CheckedExportOptions {
  double tolerance = 1e-4;  ///< largest difference of a logit, relative to the largest logit
  std::function<void(const std::string&)> note = nullptr;
  const std::atomic<bool>* stop = nullptr;  ///< soon after this becomes true, throws `Interrupted` and leaves no file
};

/// Result of an export.
struct CheckedExport {
  int64_t bytes = 0;  ///< size of the file or folder
  /// The model's logits compared with those of the file; `std::nullopt` if only another program can run the format.
  std::optional<Comparison> comparison;
  bool random_head = false;  ///< the head is all zeros, so the check was made on a file with a random head
};

/// Writes `model` to `path` in `format` after a check: writes a temporary file in the same folder, runs it on the probe's inputs
/// (all at once, and the first alone), compares its logits with the model's, and renames it. On failure no file is left. Throws
/// `ToleranceExceeded` if the logits differ, `std::invalid_argument` if the format cannot express the model, and
/// `std::runtime_error` with the path and the system's reason if writing fails.
CheckedExport export_checked(models::Model& model, const ExportFormat& format, const std::string& path, const ExportInfo& info,
                             const Probe& probe, const CheckedExportOptions& options = {});

}  // namespace respeft
