#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include <respeft/models/normalization.h>

// Files that other libraries put beside weights.
namespace respeft::models {

/// A JSON file beside the weights at `path`, which may be a folder; null where there is none (or a very large one), discarded where
/// it is no JSON. `file` receives its path.
nlohmann::json read_companion(const std::string& path, const std::string& name, std::string& file);

/// Two members of a JSON object that are three numbers each.
std::optional<Normalization> normalization_in(const nlohmann::json& object, const char* mean, const char* std,
                                              const std::string& source);

/// As Hugging Face's `preprocessor_config.json` or timm's `config.json` says.
std::optional<Normalization> normalization_of_companions(const std::string& path);

}  // namespace respeft::models
