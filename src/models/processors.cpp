#include "src/models/processors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "src/formats/json.h"

namespace respeft::models {
namespace {

using nlohmann::json;
using Three = std::array<double, 3>;

/// Members of a JSON object, with errors that name the file and the member.
class Members {
 public:
  Members(const json& object, const std::string& file) : object_(object), file_(file) {
    if (!object.is_object()) throw std::runtime_error(file + ": not a JSON object");
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const {
    const auto found = object_.find(key);
    throw std::runtime_error(
        fmt::format("{}: '{}' is {}: {}", file_, key, found == object_.end() ? "missing" : formats::shown(*found), reason));
  }
  /// Null where it is missing.
  const json& at(const std::string& key) const {
    static const json nothing;
    const auto found = object_.find(key);
    return found == object_.end() ? nothing : *found;
  }
  bool has(const std::string& key) const { return !at(key).is_null(); }

  bool flag(const std::string& key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!at(key).is_boolean()) refuse(key, "expected true or false");
    return at(key).get<bool>();
  }
  double number(const std::string& key, double otherwise) const {
    if (!has(key)) return otherwise;
    if (!at(key).is_number() || !(at(key).get<double>() > 0.0)) refuse(key, "expected a number above 0");
    return at(key).get<double>();
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    if (!at(key).is_string()) refuse(key, "expected a text");
    return at(key).get<std::string>();
  }
  Three channels(const std::string& key, const Three& otherwise) const {
    if (!has(key)) return otherwise;
    const json& value = at(key);
    Three result{};
    const bool three = value.is_array() && value.size() == 3 &&
                       std::all_of(value.begin(), value.end(), [](const json& number) { return number.is_number(); });
    if (!three) refuse(key, "expected three numbers");
    for (size_t i = 0; i < 3; ++i) result[i] = value[i].get<double>();
    return result;
  }
  /// The same for numbers to divide by.
  Three divisors(const std::string& key, const Three& otherwise) const {
    const Three result = channels(key, otherwise);
    if (std::any_of(result.begin(), result.end(), [](double value) { return !(value > 0.0); }))
      refuse(key, "expected numbers above 0");
    return result;
  }
  /// A number of pixels.
  int64_t pixels(const std::string& key, const json& value) const {
    constexpr int64_t kLargest = 4096;  // as `preprocessing_from_json` has it
    if (!value.is_number_integer() || value.get<int64_t>() < 1 || value.get<int64_t>() > kLargest)
      refuse(key, fmt::format("expected pixels, 1 to {}", kLargest));
    return value.get<int64_t>();
  }
  /// `{"height": n, "width": n}` or a number.
  int64_t square(const std::string& key) const {
    const json& value = at(key);
    if (!value.is_object()) return pixels(key, value);
    if (value.size() != 2 || !value.contains("height") || !value.contains("width") || value["height"] != value["width"])
      refuse(key, "only squares are read here");
    return pixels(key, value["height"]);
  }

 private:
  const json& object_;
  const std::string& file_;
};

/// What a processor does where its file does not say. Source: transformers/models/*/image_processing_*.py, version 5.23.
struct Processor {
  const char* name;
  bool bicubic, square, crops;
  int64_t size;
  Three mean, std;
};
constexpr Three kHalves = {0.5, 0.5, 0.5};
constexpr Three kOpenaiMean = {0.48145466, 0.4578275, 0.40821073}, kOpenaiStd = {0.26862954, 0.26130258, 0.27577711};
constexpr Processor kProcessors[] = {
    {"ViT", false, true, false, 224, kHalves, kHalves},
    {"DeiT", true, true, true, 256, kHalves, kHalves},
    {"Bit", true, false, true, 224, kOpenaiMean, kOpenaiStd},
    {"CLIP", true, false, true, 224, kOpenaiMean, kOpenaiStd},
};

const Processor& processor_of(const Members& config) {
  const char* key = config.has("image_processor_type") ? "image_processor_type" : "feature_extractor_type";
  const std::string type = config.text(key, "ViTImageProcessor");
  for (const auto& processor : kProcessors) {
    for (const char* ending : {"ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"}) {
      if (type == std::string(processor.name) + ending) return processor;
    }
  }
  config.refuse(key, "only the image processors of ViT, DeiT, BiT and CLIP are read here");
}

std::string interpolation_of(const Members& config, const Processor& processor) {
  constexpr int kBilinear = 2, kBicubic = 3;  // Pillow's numbers
  if (!config.has("resample")) return processor.bicubic ? "bicubic" : "bilinear";
  if (config.at("resample") == kBilinear) return "bilinear";
  if (config.at("resample") == kBicubic) return "bicubic";
  config.refuse("resample", "only 2 (bilinear) and 3 (bicubic) are done here");
}

/// `size` and `crop_size`.
void take_sizes(data::Preprocessing& result, const Members& config, const Processor& processor) {
  result.resize_mode = processor.square ? "squash" : "shortest";
  int64_t resized = processor.size;
  if (const json& size = config.at("size"); size.is_object() && size.contains("shortest_edge")) {
    if (size.size() != 1) config.refuse("size", "a shorter side with anything else is not done here");
    result.resize_mode = "shortest";
    resized = config.pixels("size", size["shortest_edge"]);
  } else if (!size.is_null()) {
    if (size.is_object()) result.resize_mode = "squash";
    resized = config.square("size");
  }
  const bool crops = config.flag("do_center_crop", processor.crops);
  if (!crops && result.resize_mode == "shortest")
    config.refuse("do_center_crop", "images resized by their shorter side are no squares unless they are cropped");
  result.size = !crops ? resized : config.has("crop_size") ? config.square("crop_size") : 224;
  result.resize_size = resized == result.size && result.resize_mode == "squash" ? 0 : resized;
  if (crops && !config.flag("do_resize", true)) config.refuse("do_resize", "cropping without resizing is not done here");
  if (resized < result.size) config.refuse("crop_size", "it is larger than what images are resized to");
}

/// `(v · factor − mean) / std` of values 0…255, as a mean and a std of values 0…1.
void take_values(data::Preprocessing& result, const Members& config, const Processor& processor) {
  const bool normalizes = config.flag("do_normalize", true);
  const double factor = config.flag("do_rescale", true) ? config.number("rescale_factor", 1.0 / 255.0) : 1.0;
  result.mean = normalizes ? config.channels("image_mean", processor.mean) : Three{0.0, 0.0, 0.0};
  result.std = normalizes ? config.divisors("image_std", processor.std) : Three{1.0, 1.0, 1.0};
  const double scale = 255.0 * factor;
  if (std::abs(scale - 1.0) < 1e-6) return;  // 1/255, perhaps with fewer digits
  for (size_t c = 0; c < 3; ++c) result.mean[c] /= scale, result.std[c] /= scale;
}

}  // namespace

data::Preprocessing huggingface_preprocessing(const json& object, const std::string& file) {
  const Members config(object, file);
  const Processor& processor = processor_of(config);
  constexpr const char* known[] = {"do_resize",    "do_center_crop", "do_rescale",
                                   "do_normalize", "do_convert_rgb", "do_reduce_labels"};
  for (const auto& [key, value] : object.items()) {
    const bool understood = std::find(std::begin(known), std::end(known), key) != std::end(known);
    if (key.starts_with("do_") && value == true && !understood) config.refuse(key, "it is not done here");
  }
  data::Preprocessing result;
  result.interpolation = interpolation_of(config, processor);
  take_sizes(result, config, processor);
  take_values(result, config, processor);
  return result;
}

data::Preprocessing timm_preprocessing(const json& pretrained_cfg, const std::string& file) {
  const Members config(pretrained_cfg, file);
  // timm's defaults. Source: timm/data/constants.py, timm/data/config.py.
  constexpr Three mean = {0.485, 0.456, 0.406}, std = {0.229, 0.224, 0.225};
  constexpr double crop_share = 0.875;
  data::Preprocessing result;
  result.mean = config.channels("mean", mean);
  result.std = config.divisors("std", std);
  result.interpolation = config.text("interpolation", "bicubic");
  if (result.interpolation != "bicubic" && result.interpolation != "bilinear")
    config.refuse("interpolation", "only bicubic and bilinear are done here");
  if (const json& size = config.at("input_size"); !size.is_null()) {
    if (!size.is_array() || size.size() != 3 || size[1] != size[2]) config.refuse("input_size", "only squares are read here");
    result.size = config.pixels("input_size", size[2]);
  }
  const std::string mode = config.text("crop_mode", "center");
  if (mode != "center" && mode != "squash") config.refuse("crop_mode", "only center and squash are done here");
  const double share = config.number("crop_pct", crop_share);
  if (share > 1.0) config.refuse("crop_pct", "expected a share of at most 1");
  const auto resized = static_cast<int64_t>(std::floor(static_cast<double>(result.size) / share));
  result.resize_mode = mode == "center" ? "shortest" : "squash";
  result.resize_size = resized == result.size && mode == "squash" ? 0 : resized;
  return result;
}

}  // namespace respeft::models
