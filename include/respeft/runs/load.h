#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <respeft/core/options.h>
#include <respeft/data/image/dataset.h>
#include <respeft/data/image/preprocessing.h>
#include <respeft/export/export.h>
#include <respeft/formats/safetensors.h>
#include <respeft/methods/attachment.h>
#include <respeft/models/model.h>

// A trained model with everything that is needed to use it.
namespace respeft::runs {

/// Settings that override those of the files.
struct PreprocessingChanges {
  std::optional<std::array<double, 3>> mean, std;
  std::optional<std::string> interpolation, resize_mode;
  std::optional<int64_t> resize_size;

  /// `files` with these settings instead. Throws `std::invalid_argument` on an invalid value.
  data::Preprocessing over(data::Preprocessing files) const;
};

/// The source of a model. Members that the files give may be left out.
struct LoadOptions {
  std::string run;          ///< directory of a run
  std::string torchscript;  ///< a TorchScript file; nothing else is given then but `image_size` and `preprocessing`
  std::string model;        ///< architecture by timm's name
  std::string weights;      ///< the base's weights, as `formats::open_tensor_file` reads them
  std::string state_dict;   ///< which of several state dicts in `weights`
  std::string adapter;      ///< an adapter file, or a folder in PEFT's layout
  std::string pool;         ///< `token` or `avg`
  std::optional<int64_t> image_size;
  std::optional<int64_t> num_classes;  ///< of a new head, if no file holds one
  bool any_base = false;               ///< accept an adapter that was trained on other weights
  std::string method;                  ///< of an adapter file without metadata
  Options method_options;
  PreprocessingChanges preprocessing;
};

/// A predicted class.
struct Prediction {
  int64_t index = 0;
  std::string name;  ///< the class's name, or its number if names are unknown
  double probability = 0.0;
};

/// A model, ready to be used: in evaluation mode, with the adapter attached.
class LoadedRun {
 public:
  std::shared_ptr<models::Model> model;             ///< null for TorchScript
  std::shared_ptr<torch::jit::Module> torchscript;  ///< null for a model of this library
  std::shared_ptr<Attachment> attachment;           ///< null without an adapter
  std::string name;                                 ///< timm's name, or the TorchScript file's path
  data::Preprocessing preprocessing;
  std::vector<std::string> class_names;  ///< may be empty
  std::string data;                      ///< the data that a run was trained on, `kind:path`; empty where unknown
  std::string data_split;                ///< the shares that the run split them by; empty: they have splits
  std::string pool;                      ///< empty: the name's own
  std::string weights;                   ///< path of the base's weights; empty where the adapter holds everything
  std::string state_dict;                ///< which of several in `weights`
  std::vector<std::string> files;        ///< all that it was read from
  std::vector<std::string> notes;        ///< for the user, e.g. that the run has not finished

  /// Normalized images `[B, 3, H, W]` -> logits `[B, classes]`, without gradients.
  at::Tensor forward(const at::Tensor& images) const;
  /// The same for any number of images, `batch_size` at once; `progress(done)` is called after each batch.
  at::Tensor logits(const at::Tensor& images, int64_t batch_size = 32,
                    const std::function<void(int64_t done)>& progress = nullptr) const;

  /// The `top` most likely classes of an image, most likely first. Throws `std::runtime_error` on a file that is not an image,
  /// and if the logits are not finite.
  std::vector<Prediction> classify(const std::string& path, int64_t top = 5) const;
  std::vector<Prediction> classify(const data::Image& image, int64_t top = 5) const;
  /// The same for several image files in one batch.
  std::vector<std::vector<Prediction>> classify(const std::vector<std::string>& paths, int64_t top = 5) const;

  /// The class's name, or its number if names are unknown.
  std::string class_name(int64_t index) const;

  /// How to open `spec`, a `KIND:PATH`: as in the run, if it is the run's data.
  data::DatasetOptions dataset_options(const std::string& spec) const;

  /// The metadata of a file of this model's plain weights: model, preprocessing, class names.
  formats::Metadata metadata() const;
  /// The same for `export_checked`; with `adapters`, for a format that holds the adapters.
  ExportInfo export_info(bool adapters = false) const;
};

/// Loads the model that the options and their files describe. A run that has not finished is loaded from its checkpoint, with a
/// note in `notes`. Throws `std::invalid_argument` if options are missing or contradict the files, `std::runtime_error` on bad
/// files.
LoadedRun load_run(const LoadOptions& options);
/// The model of the run in `directory`.
LoadedRun load_run(const std::string& directory);

/// Throws `std::invalid_argument` that names the difference unless the classes of `dataset` are the model's.
void check_classes(const LoadedRun& run, const data::Dataset& dataset);

}  // namespace respeft::runs
