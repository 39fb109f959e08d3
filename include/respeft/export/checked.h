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
  const std::atomic<bool>* stop = nullptr;  ///< work stops with `Interrupted`, and nothing stays, soon after this becomes true
};

/// A written file, and how it compares with the model.
struct CheckedExport {
  int64_t bytes = 0;
  /// The file's logits and the model's; nothing if only another program can run the format.
  std::optional<Comparison> comparison;
  bool random_head = false;  ///< the head is zeros, so a file with a random one was compared before the real one was written
};

/// Writes `model` to `path` in `format`, and checks it first: writes a temporary file in the same folder, runs it on the
/// probe's inputs (all at once, and the first alone), compares it with the model, and renames it. On failure nothing is left.
/// Throws `ToleranceExceeded` if the file computes something else, `std::invalid_argument` if the format cannot express the
/// model, `std::runtime_error` with the path and the system's reason if it cannot be written.
CheckedExport export_checked(models::Model& model, const ExportFormat& format, const std::string& path, const ExportInfo& info,
                             const Probe& probe, const CheckedExportOptions& options = {});

}  // namespace respeft
