#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace respeft::adapters {

/// What `adapter_config.json` says that this library understands.
struct PeftConfig {
  std::string method;  ///< `lora`, `loha` or `lokr`
  int64_t rank = 8;
  double alpha = 8.0;
  double dropout = 0.0;                  ///< LoRA
  bool rank_stabilized = false;          ///< LoRA: the update is multiplied by alpha / √rank
  int64_t factor = -1;                   ///< LoKr
  bool decompose_both = false;           ///< LoKr
  std::map<std::string, int64_t> ranks;  ///< of modules that differ from `rank`, by name or the end of it; after `^`: by name
  std::map<std::string, double> alphas;  ///< of modules that differ from `alpha`, likewise
  std::vector<std::string> targets;      ///< the modules that have an adapter, by name or the end of it
  std::vector<std::string> saved;        ///< the modules that are trained as a whole

  /// The alpha of a module of that name. Throws `std::runtime_error` where two entries of `alphas` differ about it.
  double alpha_of(const std::string& module) const;
};

/// Throws `std::runtime_error` that names the key and the reason: what is no such configuration, and what this library has no
/// equal for.
PeftConfig peft_config_from_json(const std::string& text);
std::string to_json(const PeftConfig& config);

}  // namespace respeft::adapters
