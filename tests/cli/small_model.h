#pragma once

#include <ATen/ATen.h>

#include <string>

#include <respeft/adapters/adapter_file.h>
#include <respeft/formats/file.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/models/weights.h>

#include "tests/cli/program.h"

namespace respeft::test {

constexpr const char* kModel = "vit_tiny_patch16_224";
constexpr int64_t kClasses = 7, kSize = 32;

/// Files of a small random model: `base.safetensors` (weights), `adapter.safetensors` (a method's random adapter and head),
/// `pixels.safetensors` (5 images); `images` and the adapted model's `logits`.
struct SmallModel {
  Folder folder;
  at::Tensor images, logits;

  explicit SmallModel(const std::string& method = "rlrr", const Options& options = {}) {
    at::manual_seed(3);
    const auto model = models::create(kModel, {.num_classes = kClasses, .image_size = kSize});
    formats::save_safetensors(folder / "base.safetensors", models::plain_state(*model));
    const auto created = methods::create(method, options);
    const auto attachment = attach(*model, *created);
    {
      const at::NoGradGuard no_grad;
      for (const auto& [name, tensor] : attachment->trainable()) tensor.add_(at::randn_like(tensor), 0.05);
    }
    adapters::AdapterFile file;
    file.info = {.method = method,
                 .model = kModel,
                 .options = created->options(),
                 .weights_sha256 = formats::file_sha256(folder / "base.safetensors"),
                 .preprocessing = {.size = kSize},
                 .class_names = {"ant", "bee", "cat", "dog", "eel", "fox", "gnu"},
                 .pool = ""};
    for (const auto& [name, tensor] : attachment->trainable()) file.tensors[name] = tensor.detach().clone();
    adapters::save_adapter(folder / "adapter.safetensors", file);
    images = at::randn({5, 3, kSize, kSize});
    formats::save_safetensors(folder / "pixels.safetensors", {{"pixels", images}});
    model->eval();
    const at::NoGradGuard no_grad;
    logits = model->forward(images);
  }

  std::string base() const { return folder / "base.safetensors"; }
  std::string adapter() const { return folder / "adapter.safetensors"; }
  std::string pixels() const { return folder / "pixels.safetensors"; }

  /// Runs `predict` on the pixels with these flags and returns the logits it wrote.
  at::Tensor predict(std::vector<std::string> flags) const {
    const std::string out = folder / "logits.safetensors";
    flags.insert(flags.begin(), {"predict", "--pixels", pixels(), "--logits", out});
    const Outcome outcome = run(flags);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    if (outcome.status != 0) return at::zeros_like(logits);
    at::Tensor result = formats::SafetensorsFile(out).tensor("logits");
    std::filesystem::remove(out);
    return result;
  }
};

/// Largest difference of two logits, relative to the largest of the first.
inline double relative_difference(const at::Tensor& first, const at::Tensor& second) {
  return ((first - second).abs().max() / first.abs().max()).item<double>();
}

}  // namespace respeft::test
