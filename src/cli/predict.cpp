#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/core/interrupt.h>
#include <respeft/formats/safetensors.h>

#include <respeft/core/text.h>
#include "src/cli/command.h"
#include "src/cli/loading.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

std::string shape_text(at::IntArrayRef shape) {
  std::vector<std::string> sizes;
  for (const int64_t size : shape) sizes.push_back(std::to_string(size));
  return "[" + text::join(sizes, ", ") + "]";
}

class Predict : public Command {
 public:
  void declare(CLI::App& app) override {
    app.add_option("IMAGE", images_, "JPEG or PNG files")->group("Input and output");
    const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
      return app.add_option(flag, value, help)->type_name(type)->group("Input and output");
    };
    add("--top", top_, "K", "classes printed for each image")->default_str("5");
    add("--pixels", pixels_, "FILE", "instead of images: safetensors with `pixels` [N, 3, H, W], float32, normalized");
    add("--logits", logits_, "FILE", "output file for their logits: `logits` [N, classes], float32");
    add("--batch-size", batch_size_, "B", "images per forward pass")->default_str("32");
    model_.declare(app, /*with_torchscript=*/true);
    preprocessing_.declare(app);
  }

  int run() override {
    if (batch_size_ < 1) throw std::invalid_argument("--batch-size: must be at least 1");
    if (top_ < 1) throw std::invalid_argument("--top: must be at least 1");
    if (pixels_.empty() != logits_.empty()) throw std::invalid_argument("--pixels and --logits belong together");
    if (pixels_.empty() == images_.empty()) {
      throw std::invalid_argument(images_.empty() ? "nothing to predict: give images, or --pixels FILE --logits FILE"
                                                  : "give images or --pixels, not both");
    }
    return pixels_.empty() ? predict_images() : predict_pixels();
  }

 private:
  int predict_pixels() {
    check_output_place(logits_);
    const formats::SafetensorsFile file(pixels_);
    const runs::LoadedRun model = load_model(model_, preprocessing_);
    refuse_to_overwrite("--logits", logits_, model.files);
    refuse_to_overwrite("--logits", logits_, {pixels_});
    const at::Tensor pixels = file.tensor("pixels");
    check_pixels(pixels, model.preprocessing.size);
    const InterruptGuard guard;  // Ctrl-C leaves no part of a file
    Progress progress("computing logits", pixels.size(0), "images");
    const auto show = [&](int64_t done) {
      progress.update(done);
      if (InterruptGuard::flag()) throw Interrupted("stopped; nothing was written");
    };
    const at::Tensor logits = model.logits(pixels, batch_size_, show).contiguous();
    if (!at::isfinite(logits).all().item<bool>()) throw std::runtime_error("the model's logits are not finite");
    formats::save_safetensors(logits_, {{"logits", logits}});
    if (json()) {
      print_json({{"images", logits.size(0)}, {"classes", logits.size(1)}, {"logits", logits_}});
    } else {
      print_line(fmt::format("{}: logits of {} images in {} classes", logits_, count(logits.size(0)), count(logits.size(1))));
    }
    return kDone;
  }

  void check_pixels(const at::Tensor& pixels, int64_t size) const {
    if (pixels.scalar_type() != at::kFloat) {
      throw std::runtime_error(
          fmt::format("{}: pixels is {}, not float32", pixels_, c10::getDtypeNames(pixels.scalar_type()).first));
    }
    if (pixels.dim() != 4 || pixels.size(0) < 1 || pixels.size(1) != 3 || pixels.size(2) != size || pixels.size(3) != size) {
      throw std::runtime_error(fmt::format("{}: pixels has shape {}; the model takes [N, 3, {}, {}]", pixels_,
                                           shape_text(pixels.sizes()), size, size));
    }
    const at::Tensor bad = at::isfinite(pixels).flatten(1).all(1).logical_not().nonzero();
    if (bad.size(0) > 0) {
      throw std::runtime_error(fmt::format("{}: pixels that are not finite in {} of {} images, first in image {}", pixels_,
                                           bad.size(0), pixels.size(0), bad[0].item<int64_t>()));
    }
  }

  int predict_images() {
    const runs::LoadedRun model = load_model(model_, preprocessing_);
    nlohmann::json documents = nlohmann::json::array();
    for (size_t begin = 0; begin < images_.size(); begin += static_cast<size_t>(batch_size_)) {
      const size_t end = std::min(images_.size(), begin + static_cast<size_t>(batch_size_));
      const std::vector<std::string> paths(images_.begin() + static_cast<ptrdiff_t>(begin),
                                           images_.begin() + static_cast<ptrdiff_t>(end));
      const auto predictions = model.classify(paths, top_);
      for (size_t i = 0; i < paths.size(); ++i) report(paths[i], predictions[i], documents);
    }
    if (json()) print_json(documents);
    return kDone;
  }

  void report(const std::string& image, const std::vector<runs::Prediction>& predictions, nlohmann::json& documents) const {
    nlohmann::json list = nlohmann::json::array();
    std::string text = image + "\n";
    for (const auto& one : predictions) {
      list.push_back({{"class", one.name}, {"index", one.index}, {"probability", one.probability}});
      text += fmt::format("  {:>8}  {}\n", percent(one.probability), one.name);
    }
    documents.push_back({{"image", image}, {"predictions", list}});
    if (!json()) print(text);
  }

  std::vector<std::string> images_;
  std::string pixels_, logits_;
  int64_t top_ = 5, batch_size_ = 32;
  ModelFlags model_;
  PreprocessingFlags preprocessing_;
};

}  // namespace

std::unique_ptr<Command> make_predict() {
  return std::make_unique<Predict>();
}

}  // namespace respeft::cli
