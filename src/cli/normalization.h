#pragma once

#include <array>
#include <string>

#include <respeft/data/image/preprocessing.h>
#include <respeft/models/weights_check.h>

namespace respeft::cli {

/// "0.485,0.456,0.406"
std::string channels_text(const std::array<double, 3>& values);

/// What there is to say where images will be normalized otherwise than the weights were trained with; empty where they are not.
std::string normalization_mismatch(const models::Normalization& known, const data::Preprocessing& planned);

}  // namespace respeft::cli
