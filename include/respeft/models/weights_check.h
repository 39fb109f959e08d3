#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/check.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/models/model.h>
#include <respeft/models/normalization.h>

// A weights file compared with a model, before hours of training are spent on it.
namespace respeft::models {

/// The normalization that the weights at `path` were trained with, for the architecture `model` (timm's name, optionally with a
/// tag such as `.augreg_in21k`). It is taken from the file itself; else from `preprocessor_config.json` (Hugging Face) or
/// `config.json` (timm) next to it; else from the names of model and file: 0.5 for Google's ViT and AugReg, ImageNet's for DINO,
/// DINOv2, DeiT and MAE, and CLIP's own for OpenAI's CLIP (source: timm's `default_cfgs`). `std::nullopt` if none of these tells.
std::optional<Normalization> known_normalization(const std::string& path, const std::string& model,
                                                 const std::string& state_dict = "");

/// Comparison of a weights file with a model.
struct WeightsCheck {
  std::string fault;                        ///< why the file cannot be loaded; empty: it can
  std::string layout;                       ///< as in `LoadReport`; empty if not recognized
  std::vector<std::string> matched;         ///< keys of the model that the file has with the right shape
  std::vector<std::string> missing;         ///< keys of the model that the file lacks
  std::vector<std::string> unused;          ///< keys of the file (with timm's names) that the model does not have
  std::vector<std::string> not_finite;      ///< keys (as in the file) of tensors with an infinity or NaN
  std::vector<std::string> wrong_shapes;    ///< e.g. `'norm.weight' has shape [384]; vit_base_patch16_224 takes [768]`
  int64_t head_classes = 0;                 ///< of the file's head; 0: it has none
  int64_t file_grid = 0, model_grid = 0;    ///< patches per side of the position embeddings; 0: unknown
  int64_t file_patch = 0, model_patch = 0;  ///< pixels per side of a patch; 0: unknown
  std::vector<std::string> fitting;         ///< if the file cannot be loaded: models of `models::list()` that it fits
  std::optional<Normalization> normalization;

  bool positions_resampled() const { return fault.empty() && file_grid != model_grid; }
};

/// Compares the weights at `path` with the model of this name and these options. Throws `std::runtime_error` if there is no such
/// file or it cannot be read, and as `models::create`.
WeightsCheck check_weights(const std::string& path, const std::string& model, ModelOptions options = {},
                           const std::string& state_dict = "");

/// `"0.485,0.456,0.406"`.
std::string channels_text(const std::array<double, 3>& values);

/// A warning if `planned` normalizes images differently than in the weights' training; otherwise empty.
std::string normalization_mismatch(const Normalization& known, const data::Preprocessing& planned);

/// Findings about the weights at `path`, for training on `classes` classes (0: unknown) with the preprocessing `planned`: faults,
/// values that are not finite, a head that is not loaded, a different normalization.
std::vector<data::Finding> weight_findings(const WeightsCheck& check, const std::string& path, const std::string& model,
                                           int64_t classes, const data::Preprocessing& planned);

}  // namespace respeft::models
