#pragma once

#include <respeft/formats/safetensors.h>

#include <string>
#include <vector>

namespace respeft::adapters {

/// A trained factor of an update, e.g. LoRA's `lora_A`.
struct FactorKind {
  const char* name;  ///< PEFT's and this library's
  int rank_dim;      ///< which dimension the rank is; -1: none
  bool scales;       ///< whether a multiple of the update is a multiple of this factor
};

/// The factors of a method (`lora`, `loha`, `lokr`), or of AdaLoRA (`adalora`: `lora` with allocated ranks).
const std::vector<FactorKind>& factor_kinds(const std::string& method);

/// The factors of one update, by name; those the update does not have are missing.
using FactorMap = TensorMap;

/// The rank that the factors agree on; 0 where none has one. Throws `std::runtime_error` naming two that do not.
int64_t rank_of(const std::string& method, const FactorMap& factors);
/// The same update with its rank filled up with zeros to `rank`.
FactorMap padded(const std::string& method, FactorMap factors, int64_t rank);
/// The update multiplied by `factor`.
FactorMap scaled(const std::string& method, FactorMap factors, double factor);

/// LoRA and LoHa. Updates of some of `parts` equal runs of a weight's rows, by run, as one of the whole weight: the rank is the
/// sum of theirs.
FactorMap fused(const std::string& method, const std::map<int64_t, FactorMap>& updates, int64_t parts);
/// LoRA and LoHa. The update of run `part` of `parts` in an update of the whole weight.
FactorMap part_of(const std::string& method, const FactorMap& whole, int64_t part, int64_t parts);

}  // namespace respeft::adapters
