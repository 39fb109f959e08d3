#pragma once

#include <array>
#include <string>

#include <respeft/io/preprocessing.h>
#include <respeft/io/weights_check.h>

namespace respeft::cli {

/// "0.485,0.456,0.406"
std::string channels_text(const std::array<double, 3>& values);

/// What there is to say where images will be normalised otherwise than the weights were trained with; empty where they are not.
std::string normalisation_mismatch(const io::Normalisation& known, const io::Preprocessing& planned);

}  // namespace respeft::cli
