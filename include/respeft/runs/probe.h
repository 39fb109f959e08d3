#pragma once

#include <functional>
#include <string>

#include <respeft/merge/certificate.h>
#include <respeft/runs/load.h>

namespace respeft::runs {

/// The images for comparing a merge or an export.
struct ProbeOptions {
  std::string data;  ///< `KIND:PATH`; empty: the data that the run was trained on, or random pixels if there are none
  std::string split = "test";
  std::string shares;  ///< by which a folder of classes is split; empty: as in the run
  int64_t images = 64;
  int64_t workers = 2;
  std::function<void(const std::string&)> note = nullptr;
};

/// Images to compare the model on before and after: drawn evenly from the classes of the data, or random pixels. If the run's
/// own data cannot be read, uses random pixels and calls `note`. Throws as `data::open_dataset`, and `std::invalid_argument` if
/// the data's classes are not the model's.
Probe make_probe(const LoadedRun& run, const ProbeOptions& options = {});

/// `options.images` training images, an equal share of every class, on which shortcuts that do not fold exactly are fitted (see
/// `MergeOptions::calibration`). Throws `std::invalid_argument` where neither `options.data` nor the run says which.
at::Tensor calibration_images(const LoadedRun& run, const ProbeOptions& options = {.images = 256});

}  // namespace respeft::runs
