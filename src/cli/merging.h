#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include <respeft/merge/certificate.h>
#include <respeft/runs/load.h>

#include "src/cli/datasets.h"
#include "src/cli/flags.h"

namespace respeft::cli {

/// The flags of commands that merge and compare: the images, and the difference that is accepted.
struct MergeFlags {
  DataFlags data;
  double tolerance = MergeOptions().tolerance;
  std::string how;  ///< how shortcuts are merged; empty: the way with the smallest error
  int64_t calibration = 256;
  bool accept_loss = false;

  void declare(CLI::App& app);
  /// Takes `--method` where it names a merge (`exact`, `regression`, …) and not a way of fine-tuning, as if it were `--how`.
  void take_method(MethodFlags& flags);
  /// Images of the data given, else of the run's data where they can be opened, else random pixels.
  Probe probe(const runs::LoadedRun& run) const;
  /// Merges the adapters of `run`, if it has any, and measures. Errors name the flag.
  Merged merge(runs::LoadedRun& run, const Probe& probe) const;
  /// Throws `ToleranceExceeded` when a merge changed more than the flags accept.
  void check(const Merged& merged) const { check_merge(merged, {.tolerance = tolerance, .accept_loss = accept_loss}); }

 private:
  const char* how_flag_ = "--how";  ///< the flag that said how
};

nlohmann::json to_json(const Comparison& comparison);
nlohmann::json to_json(const std::vector<Trial>& trials);
/// Two tables: the error of every merge at each site, and on the model.
std::string describe(const std::vector<Trial>& trials);
nlohmann::json to_json(const MergeReport& report);
/// "64 images (…): largest difference 3.1e-07 of the largest logit, same prediction for 100.00 %, …".
std::string describe(const Comparison& comparison, const Probe& probe, bool random_head);

}  // namespace respeft::cli
