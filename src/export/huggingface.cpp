#include <ATen/ATen.h>
#include <fmt/format.h>
#include <respeft/formats/file.h>
#include <respeft/models/exports.h>
#include <respeft/models/family.h>
#include <respeft/models/weights.h>

#include "src/export/formats.h"

namespace respeft {
namespace exporting {
namespace {

using nlohmann::ordered_json;

/// The configuration of a Transformers model.
ordered_json model_config(const models::Model& model, const std::vector<std::string>& class_names) {
  auto result = ordered_json::parse(model.family().exports().huggingface_config(model));
  nlohmann::json names = nlohmann::json::object(), numbers = nlohmann::json::object();
  for (int64_t i = 0; i < model.num_classes(); ++i) {
    const auto place = static_cast<size_t>(i);
    const std::string name = place < class_names.size() ? class_names[place] : fmt::format("LABEL_{}", i);
    names[std::to_string(i)] = name;
    numbers[name] = i;
  }
  result["id2label"] = names;
  result["label2id"] = numbers;
  return result;
}

ordered_json square(int64_t side) {
  return {{"height", side}, {"width", side}};
}

/// The image processor that does to an image what this library does. ViT's only resizes in older versions; BiT's crops in all.
/// Where an odd number of pixels is cut off a side, Transformers may leave the odd one on the other end.
/// `do_convert_rgb` is off: Transformers 5 lays transparent images on white then, and this library, like Pillow's
/// `convert("RGB")`, drops the transparency. Without it the processor takes RGB images alone, and refuses others with an error.
ordered_json processor_config(const data::Preprocessing& preprocessing) {
  constexpr int bilinear = 2, bicubic = 3;  // Pillow's numbers
  const bool shortest = preprocessing.resize_mode == "shortest";
  const bool crops = shortest || preprocessing.resized_side() > preprocessing.size;
  ordered_json config = {{"image_processor_type", crops ? "BitImageProcessor" : "ViTImageProcessor"},
                         {"do_convert_rgb", false},
                         {"do_resize", true},
                         {"size", square(preprocessing.resized_side())},
                         {"resample", preprocessing.interpolation == "bicubic" ? bicubic : bilinear},
                         {"do_rescale", true},
                         {"rescale_factor", 1.0 / 255.0},
                         {"do_normalize", true},
                         {"image_mean", preprocessing.mean},
                         {"image_std", preprocessing.std}};
  if (shortest) config["size"] = {{"shortest_edge", preprocessing.resized_side()}};
  if (crops) config["do_center_crop"] = true, config["crop_size"] = square(preprocessing.size);
  return config;
}

at::Tensor run_huggingface(const std::string& folder, const at::Tensor& images, const models::Model& like) {
  return run_weights(folder + "/model.safetensors", images, like);
}

}  // namespace

ExportFormat huggingface_format() {
  return {.name = "huggingface",
          .summary = "a folder for Transformers' AutoModelForImageClassification.from_pretrained(FOLDER)",
          .write = export_huggingface,
          .run = run_huggingface,
          .folder = true};
}

}  // namespace exporting

std::string huggingface_model_type(const models::Model& model) {
  return model.family().exports().huggingface_type(model);
}

void export_huggingface(models::Model& model, const std::string& folder, const ExportInfo& info) {
  const TensorMap state = models::plain_state(model);
  const auto config = exporting::model_config(model, info.class_names);
  const auto processor = exporting::processor_config(exporting::preprocessing_for(model, info));
  const TensorMap tensors = model.family().exports().huggingface_tensors(model, state);
  formats::write_folder(folder, [&](const std::string& place) {
    formats::write_file(place + "/config.json", exporting::json_text(config));
    formats::write_file(place + "/preprocessor_config.json", exporting::json_text(processor));
    exporting::write_weights(model, place + "/model.safetensors", tensors, info);
  });
}

}  // namespace respeft
