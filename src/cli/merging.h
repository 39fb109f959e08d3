#pragma once

#include <ATen/core/Tensor.h>
#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

#include <respeft/merge/merge.h>
#include <respeft/merge/shortcut.h>

#include "src/cli/datasets.h"
#include "src/cli/loading.h"

namespace respeft::cli {

/// Images to compare two models on.
struct Probe {
  at::Tensor images;        ///< `[N, 3, S, S]`, normalized
  at::Tensor labels;        ///< int64 `[N]`; undefined for random pixels
  std::string description;  ///< what they are, for the report
};

/// One way of merging shortcuts, tried without changing the model.
struct Trial {
  ShortcutMerge merge;
  double error = 0.0;  ///< ‖merged − unmerged logits‖ / ‖unmerged − base's logits‖ of the probe's images
  Comparison comparison;
  std::vector<ShortcutMerger::SiteError> sites;
};

/// What merging did to a model and its logits.
struct Merged {
  MergeReport report;         ///< without sites where the adapter left nothing to fold
  at::Tensor logits;          ///< `[N, classes]` of the probe's images, after merging
  Comparison comparison;      ///< before and after
  std::vector<Trial> trials;  ///< of every way of merging shortcuts that can be had, where the model has some
  std::string method;         ///< `exact`, or the shortcut merge that was chosen
};

/// The flags of commands that merge and compare: the images, and the difference that is accepted.
struct MergeFlags {
  DataFlags data;
  double tolerance = 1e-4;  ///< largest difference of a logit, relative to the largest logit
  std::string method;       ///< how shortcuts are merged; empty: the way with the smallest error
  int64_t calibration = 256;
  bool accept_loss = false;

  void declare(CLI::App& app);
  /// Takes `--method` where it names a merge (`exact`, `regression`, …) and not a way of fine-tuning.
  void take_method(MethodFlags& flags);
  /// Merges the adapters of `model`, if it has any, measuring its logits on the probe before and after.
  Merged merge(LoadedModel& model, const Probe& probe) const;
  /// The first images of the data given, else of the run's data where they can be opened, else normal pixels.
  Probe probe(const LoadedModel& model) const;
  /// Throws `std::runtime_error` when the difference is above the tolerance, or not a number. `what` differs from what.
  void check(const Comparison& comparison, const std::string& what) const;
  /// The same for a merge; an approximate one may exceed it with `--accept-loss`.
  void check(const Merged& merged) const;
};

nlohmann::json to_json(const Comparison& comparison);
nlohmann::json to_json(const std::vector<Trial>& trials);
/// Two tables: the error of every merge at each site, and on the model.
std::string describe(const std::vector<Trial>& trials);
nlohmann::json to_json(const MergeReport& report);
/// "64 images (…): largest difference 3.1e-07 of the largest logit, same prediction for 100.00 %, …".
std::string describe(const Comparison& comparison, const Probe& probe);

}  // namespace respeft::cli
