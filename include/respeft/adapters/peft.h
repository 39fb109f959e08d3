#pragma once

#include <string>

#include <respeft/adapters/adapter_file.h>

namespace respeft::adapters {

/// Whether `path` is an adapter in the layout of Hugging Face PEFT: a folder with `adapter_config.json`, a folder of such folders
/// (adapters with names), or the `adapter_model.safetensors` or `adapter_model.bin` in one.
bool is_peft_adapter(const std::string& path);

/// The files of an adapter in PEFT's layout.
struct PeftFiles {
  std::string config;   ///< `adapter_config.json`
  std::string tensors;  ///< `adapter_model.safetensors`, else `adapter_model.bin`
};
/// Those of `path`, for which `is_peft_adapter` holds. Throws `std::runtime_error` where the tensors are missing, or where
/// there are several named adapters.
PeftFiles peft_files(const std::string& path);

/// Reads an adapter that PEFT trained on a ViT or DINOv2 of timm or Transformers: LoRA (of any rank and alpha for each module,
/// by name or pattern, rank-stabilized or not), AdaLoRA (read as LoRA with a `target_rank`; as plain LoRA once nothing is left to
/// prune), LoHa or LoKr on the linear layers of the blocks, and a head (`modules_to_save`). Where modules differ
/// in rank the smaller ones are filled up with zeros; where they differ in scale, the last factor takes the difference. Model and
/// preprocessing are only known of what `save_peft_adapter` wrote; `info` says nothing of them otherwise.
/// Throws `std::runtime_error` naming file, key and reason on everything else: what this library has no place for (DoRA, biases,
/// adapters of other layers, initializations that change the base) is refused by name.
AdapterFile load_peft_adapter(const std::string& path);

/// Writes an adapter as a folder that `peft.PeftModel.from_pretrained(base, folder)` loads, whole or not at all. `base` says
/// whose modules are named: `timm`, or the `model_type` of Transformers 5 (`vit`, `dinov2`, `dinov2_with_registers`).
/// LoRA, LoHa and LoKr have an equal there. timm has one linear for q, k and v, so updates of single projections become one of
/// as many times the rank; Transformers has three, so an update of the fused weight becomes three. Neither changes what is
/// computed. Directions that rank allocation pruned are left out.
/// Throws `std::invalid_argument` with the reason where PEFT has no equal.
void save_peft_adapter(const std::string& folder, const AdapterFile& adapter, const std::string& base = "timm");

}  // namespace respeft::adapters
