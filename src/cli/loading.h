#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <respeft/data/image/preprocessing.h>
#include <respeft/formats/safetensors.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>

#include "src/cli/flags.h"

namespace respeft::cli {

/// A model made from the flags and the files they name.
struct LoadedModel {
  std::shared_ptr<models::Model> model;        ///< null for TorchScript
  std::shared_ptr<torch::jit::Module> torchscript;  ///< null for a model of this library
  std::shared_ptr<Attachment> attachment;           ///< where there is an adapter file
  std::string name;                                 ///< timm's name, or the TorchScript file's path
  data::Preprocessing preprocessing;
  std::vector<std::string> class_names;  ///< may be empty
  std::string data;                      ///< the data a run was trained on, `kind:path`; empty when unknown
  std::string data_split;                ///< the shares that the run split them by; empty: they have splits

  std::string pool;                ///< empty: the name's own
  std::string weights;             ///< path of the base's weights; empty when the adapter holds everything
  std::vector<std::string> files;  ///< all that it was read from

  /// What a file of this model's plain weights says about itself: model, preprocessing, class names.
  formats::Metadata metadata() const;
  /// Normalized images `[N, 3, H, W]` -> logits `[N, classes]`, without gradients, in batches of `batch_size`.
  at::Tensor logits(const at::Tensor& images, int64_t batch_size = 32) const;
  /// One batch.
  at::Tensor forward(const at::Tensor& images) const;
};

/// Makes the model that `flags` and the files they name describe, in evaluation mode.
/// Throws `std::invalid_argument` when flags are missing or contradict the files, `std::runtime_error` on bad files.
LoadedModel load_model(const ModelFlags& flags, const PreprocessingFlags& preprocessing = {});

/// Merges the model's adapters, if it has any.
MergeReport merge_adapters(models::Model& model);

/// The class's name, or its number where names are unknown.
std::string class_name(const LoadedModel& model, int64_t index);

}  // namespace respeft::cli
