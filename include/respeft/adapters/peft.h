#pragma once

#include <string>

#include <respeft/adapters/adapter_file.h>

namespace respeft::adapters {

/// True if `path` is an adapter in Hugging Face PEFT's layout: a folder with `adapter_config.json`, a folder of such folders
/// (adapters with names), or the `adapter_model.safetensors` or `adapter_model.bin` in one.
bool is_peft_adapter(const std::string& path);

/// The files of an adapter in PEFT's layout.
struct PeftFiles {
  std::string config;   ///< `adapter_config.json`
  std::string tensors;  ///< `adapter_model.safetensors`, else `adapter_model.bin`
};
/// The files of `path`, for which `is_peft_adapter` is true. Throws `std::runtime_error` if the tensors are missing, or if
/// there are several named adapters.
PeftFiles peft_files(const std::string& path);

/// Reads an adapter that PEFT trained on a ViT or DINOv2 of timm or Transformers: LoRA (with any rank and alpha for each module,
/// by name or pattern, rank-stabilized or not), AdaLoRA (read as LoRA with a `target_rank`, or as plain LoRA if all pruning is
/// done), LoHa or LoKr on the linear layers of the blocks, and a head (`modules_to_save`). If modules differ in rank, the
/// smaller ones are padded with zeros; if they differ in scale, the last factor absorbs it. `info` contains the model and the
/// preprocessing only if `save_peft_adapter` wrote the adapter. Throws `std::runtime_error` that names the file, the key and the
/// reason for anything else: DoRA, biases, adapters of other layers, initializations that change the base.
AdapterFile load_peft_adapter(const std::string& path);

/// Writes a LoRA, LoHa or LoKr adapter as a folder that `peft.PeftModel.from_pretrained(base, folder)` loads, completely or not
/// at all. `base` is the library whose module names are used: `timm`, or the `model_type` of Transformers 5 (`vit`, `dinov2`,
/// `dinov2_with_registers`). timm has one linear layer for q, k and v, so updates of single projections become one update of a
/// higher rank; Transformers has three, so an update of the fused weight becomes three. The result of the computation stays the
/// same. Directions that rank allocation pruned are left out. Throws `std::invalid_argument` with the reason if PEFT cannot
/// express the adapter.
void save_peft_adapter(const std::string& folder, const AdapterFile& adapter, const std::string& base = "timm");

}  // namespace respeft::adapters
