// Whole training steps of ViT-B/16 (224 pixels, a batch of 8) with LoRA and with each of ResLoRA's shortcuts, same rank and
// targets, in turns in one process. Prints seconds a step (the fastest), the ratio to LoRA's (of the fastest, and of the
// medians) and the bytes kept for the backward; then the same for forward passes of the merged models, beside one that never had
// an adapter. With arguments (as the tests call it) it makes one step of a small model.

#include <ATen/ATen.h>
#include <respeft/merge/merge.h>
#include <respeft/merge/shortcut.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/train/optimizer.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <respeft/inspect/saved_tensors.h>

namespace {

using namespace respeft;

/// One adapted model with its optimizer.
class Contestant {
 public:
  Contestant(const std::string& method, const std::string& model, int64_t size, int64_t batch)
      : name(method),
        model_(models::create(model, {.num_classes = 10, .image_size = size})),
        attachment_(attach(*model_, *methods::create(method))),
        optimizer_(attachment_->trainable(), {}),
        images_(at::randn({batch, 3, size, size})),
        labels_(at::randint(10, {batch}, at::kLong)) {
    model_->train();
  }

  void step() {
    const auto start = std::chrono::steady_clock::now();
    optimizer_.zero_grad();
    loss().backward();
    optimizer_.step(1e-3);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  int64_t kept() {
    return bytes_saved_for_backward([&] { return loss(); }, model_->parameters());
  }

  /// From here on the model is plain.
  void merge() {
    model_->eval();
    if (needs_shortcut_merge(*model_)) {
      ShortcutMerger(*model_, images_).merge(ShortcutMerge::Regression);
    } else if (has_adapters(*model_)) {
      respeft::merge(*model_);
    }
    seconds.clear();
  }
  void infer() {
    const at::NoGradGuard no_grad;
    const auto start = std::chrono::steady_clock::now();
    model_->forward(images_);
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  std::string name;
  std::vector<double> seconds;

 private:
  at::Tensor loss() { return at::cross_entropy_loss(model_->forward(images_), labels_); }

  std::shared_ptr<models::Model> model_;
  std::shared_ptr<Attachment> attachment_;
  train::AdamW optimizer_;
  at::Tensor images_, labels_;
};

double fastest(std::vector<double> seconds) {
  return *std::min_element(seconds.begin(), seconds.end());
}
double median(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

int main(int argc, char**) {
  const bool quick = argc > 1;
  std::vector<Contestant> all;
  all.reserve(5);
  for (const char* method : {"lora", "reslora-bs", "reslora-is", "reslora-ms"}) {
    all.emplace_back(method, quick ? "vit_tiny_patch16_224" : "vit_base_patch16_224", quick ? 32 : 224, quick ? 2 : 8);
  }
  const int rounds = quick ? 1 : 8;
  const auto race = [&](void (Contestant::*run)()) {
    for (int round = 0; round <= rounds; ++round) {
      for (auto& contestant : all) (contestant.*run)();
    }
    for (auto& contestant : all) contestant.seconds.erase(contestant.seconds.begin());  // the first warms up
  };
  const auto print_times = [&](const Contestant& contestant) {
    const auto& first = all[0].seconds;
    std::printf("%-12s %10.3f %8.3f %10.3f", contestant.name.c_str(), fastest(contestant.seconds),
                fastest(contestant.seconds) / fastest(first), median(contestant.seconds) / median(first));
  };

  race(&Contestant::step);
  const auto lora_kept = static_cast<double>(all[0].kept());
  std::printf("%-12s %10s %8s %10s %10s %8s\n", "training", "seconds", "ratio", "(medians)", "kept MB", "ratio");
  for (auto& contestant : all) {
    const auto kept = static_cast<double>(contestant.kept());
    print_times(contestant);
    std::printf(" %10.1f %8.3f\n", kept / 1e6, kept / lora_kept);
  }

  all.emplace_back("linear", quick ? "vit_tiny_patch16_224" : "vit_base_patch16_224", quick ? 32 : 224, quick ? 2 : 8);
  all[4].name = "plain";
  std::swap(all[0], all[4]);
  for (auto& contestant : all) contestant.merge();
  race(&Contestant::infer);
  std::printf("\n%-12s %10s %8s %10s\n", "merged", "seconds", "ratio", "(medians)");
  for (const auto& contestant : all) {
    print_times(contestant);
    std::printf("\n");
  }
}
