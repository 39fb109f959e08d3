#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/adapters/peft_pattern.h"

namespace respeft::adapters {

/// What `adapter_config.json` says that this library understands.
struct PeftConfig {
  std::string method;  ///< `lora`, `loha` or `lokr`
  int64_t rank = 8;
  double alpha = 8.0;
  double dropout = 0.0;              ///< LoRA
  bool rank_stabilized = false;      ///< LoRA: the update is multiplied by alpha / √rank
  int64_t factor = -1;               ///< LoKr
  bool decompose_both = false;       ///< LoKr
  ModulePatterns ranks;              ///< of modules whose rank differs from `rank`; AdaLoRA: none
  ModulePatterns alphas;             ///< of modules whose alpha differs from `alpha`
  std::vector<std::string> targets;  ///< the modules that have an adapter, by name or the end of it
  std::vector<std::string> saved;    ///< the modules that are trained as a whole
  bool allocated = false;            ///< AdaLoRA: B diag(E) A, multiplied by alpha / `rank` whatever the module's own rank
  int64_t target_rank = 0;           ///< AdaLoRA: the average that ranks were to be pruned to

  /// The alpha and the rank of a module of that name. Both throw `std::runtime_error` as `ModulePatterns::find`.
  double alpha_of(const std::string& module) const;
  int64_t rank_of(const std::string& module) const;
};

/// Throws `std::runtime_error` that names the key and the reason: what is no such configuration, and what this library has no
/// equal for.
PeftConfig peft_config_from_json(const std::string& text);
std::string to_json(const PeftConfig& config);

}  // namespace respeft::adapters
