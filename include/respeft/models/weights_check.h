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
/// tag such as `.augreg_in21k`): from the file itself, or `preprocessor_config.json` (Hugging Face) or `config.json` (timm)
/// next to it, or the publication, recognized from the names of model and file: 0.5 for Google's ViT and AugReg, ImageNet's for
/// DINO, DINOv2, DeiT and MAE, and CLIP's own for OpenAI's CLIP. Source of these: timm's `default_cfgs`. Nothing if none of
/// these gives it.
std::optional<Normalization> known_normalization(const std::string& path, const std::string& model,
                                                 const std::string& state_dict = "");

struct WeightsCheck {
  std::string fault;                        ///< why the file cannot be loaded; empty: it can
  std::string layout;                       ///< as in `LoadReport`; empty when it is not recognized
  std::vector<std::string> matched;         ///< the model's keys that the file has in the right shape
  std::vector<std::string> missing;         ///< the model's keys that it lacks
  std::vector<std::string> unused;          ///< its keys, by timm's names, that the model has no place for
  std::vector<std::string> not_finite;      ///< the file's own keys of tensors with an infinity or NaN
  std::vector<std::string> wrong_shapes;    ///< e.g. `'norm.weight' has shape [384]; vit_base_patch16_224 takes [768]`
  int64_t head_classes = 0;                 ///< of the file's head; 0: it has none
  int64_t file_grid = 0, model_grid = 0;    ///< patches a side that the position embeddings are for; 0: unknown
  int64_t file_patch = 0, model_patch = 0;  ///< pixels a side of a patch; 0: unknown
  std::vector<std::string> fitting;  ///< where the file cannot be loaded: other models of `models::list()` that it looks made for
  std::optional<Normalization> normalization;

  bool positions_resampled() const { return fault.empty() && file_grid != model_grid; }
};

/// Compares the weights at `path` with the model of this name and these options. Throws `std::runtime_error` if there is no such
/// file or it cannot be read, and as `models::create`.
WeightsCheck check_weights(const std::string& path, const std::string& model, ModelOptions options = {},
                           const std::string& state_dict = "");

/// `"0.485,0.456,0.406"`.
std::string channels_text(const std::array<double, 3>& values);

/// A sentence if images would be normalized differently from the weights' training; otherwise empty.
std::string normalization_mismatch(const Normalization& known, const data::Preprocessing& planned);

/// Findings of a check of the weights at `path` for training on `classes` classes (0: unknown) with images preprocessed as
/// `planned`: faults, values that are not finite, a head that is left out, another normalization.
std::vector<data::Finding> weight_findings(const WeightsCheck& check, const std::string& path, const std::string& model,
                                           int64_t classes, const data::Preprocessing& planned);

}  // namespace respeft::models
