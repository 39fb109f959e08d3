#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include <respeft/data/image/preprocessing.h>

// Other libraries' descriptions of preprocessing. Everything in them is taken or refused: each function throws
// `std::runtime_error` that names `file` and the member that this library's preprocessing cannot do.
namespace respeft::models {

/// Of Transformers' `preprocessor_config.json`: the image processors of ViT, DeiT, BiT (which DINOv2 uses) and CLIP. Rescaling by
/// another factor than 1/255 and no normalization are expressed by mean and std.
data::Preprocessing huggingface_preprocessing(const nlohmann::json& config, const std::string& file);

/// Of the `pretrained_cfg` in timm's `config.json`, as `timm.data.create_transform` evaluates it.
data::Preprocessing timm_preprocessing(const nlohmann::json& pretrained_cfg, const std::string& file);

}  // namespace respeft::models
