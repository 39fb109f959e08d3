#pragma once

#include <respeft/runs/load.h>

#include "src/cli/flags.h"

namespace respeft::cli {

/// Loads the model that the flags describe, and prints its notes.
runs::LoadedRun load_model(const ModelFlags& flags, const PreprocessingFlags& preprocessing = {});

}  // namespace respeft::cli
