#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include <respeft/merge/merge.h>
#include <respeft/methods/method.h>
#include <respeft/models/model.h>
#include <respeft/train/optimizer.h>

#include <respeft/inspect/saved_tensors.h>
#include "src/cli/command.h"
#include "src/cli/flags.h"
#include "src/cli/output.h"

namespace respeft::cli {
namespace {

/// Largest resident memory of this process so far, in bytes.
int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;  // Linux counts KiB
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

class Bench : public Command {
 public:
  void declare(CLI::App& app) override {
    const auto add = [&](const std::string& flag, auto& value, const std::string& type, const std::string& help) {
      return app.add_option(flag, value, help)->type_name(type)->group("Work");
    };
    add("--model", model_, "NAME", "timm's name of the architecture")->default_str(model_);
    add("--image-size", image_size_, "N", "pixels per side of the input; default: from the model's name");
    add("--num-classes", num_classes_, "N", "classes of the head")->default_str("100");
    add("--batch-size", batch_size_, "B", "images per step")->default_str("32");
    add("--steps", steps_, "S", "timed steps, after one warm-up step")->default_str("5");
    app.add_flag("--inference", inference_, "time forward passes of the merged model instead of training steps")->group("Work");
    method_.declare(app, "rlrr");
  }

  int run() override {
    if (batch_size_ < 1) throw std::invalid_argument("--batch-size: must be at least 1");
    if (steps_ < 1) throw std::invalid_argument("--steps: must be at least 1");
    if (num_classes_ < 1) throw std::invalid_argument("--num-classes: must be at least 1");
    const auto method = methods::create(method_.name, method_.options());
    at::manual_seed(0);
    const auto model = models::create(model_, {.num_classes = num_classes_, .image_size = image_size_});
    auto attachment = attach(*model, *method);
    trained_ = attachment->parameter_count();
    images_ = model->input().example(batch_size_).at(model->input().name);
    labels_ = at::randint(num_classes_, {batch_size_}, at::kLong);
    inference_ ? time_inference(*model) : time_training(*model, *attachment);
    report(*model);
    return kDone;
  }

 private:
  at::Tensor loss(models::Model& model) const { return at::cross_entropy_loss(model.forward(images_), labels_); }

  void time_training(models::Model& model, Attachment& attachment) {
    model.train();
    train::AdamW optimizer(attachment.trainable(), {});
    int64_t step = 0;
    time("training", [&] {
      optimizer.zero_grad();
      loss(model).backward();
      if (const auto extra = attachment.regularization(); extra.defined()) extra.backward();
      optimizer.step(1e-3);
      attachment.after_step(++step, steps_ + 1);
    });
    saved_bytes_ = bytes_saved_for_backward([&] { return loss(model); }, model.parameters());
  }

  void time_inference(models::Model& model) {
    const at::NoGradGuard no_grad;
    if (has_adapters(model) && unmergeable_site(model).empty()) merge(model);
    model.eval();
    time("inference", [&] { model.forward(images_); });
  }

  void time(const std::string& what, const std::function<void()>& step) {
    using Clock = std::chrono::steady_clock;
    Progress progress(what, steps_ + 1, "steps");
    for (int64_t i = 0; i <= steps_; ++i) {
      const auto start = Clock::now();
      step();
      if (i > 0) step_seconds_.push_back(std::chrono::duration<double>(Clock::now() - start).count());
      progress.advance();
    }
    peak_memory_ = peak_memory();
  }

  void report(const models::Model& model) const {
    const double middle = median(step_seconds_);
    const double rate = static_cast<double>(batch_size_) / middle;
    if (json()) {
      print_json({{"model", model.name()},
                  {"method", method_.name},
                  {"mode", inference_ ? "inference" : "training"},
                  {"image_size", model.input().side()},
                  {"num_classes", num_classes_},
                  {"batch_size", batch_size_},
                  {"threads", at::get_num_threads()},
                  {"step_seconds", step_seconds_},
                  {"median_step_seconds", middle},
                  {"images_per_second", rate},
                  {"saved_bytes", saved_bytes_},
                  {"peak_rss", peak_memory_},
                  {"trained", trained_}});
      return;
    }
    const auto [fastest, slowest] = std::minmax_element(step_seconds_.begin(), step_seconds_.end());
    std::vector<std::pair<std::string, std::string>> entries = {
        {"model", fmt::format("{} at {} pixels, {}", model.name(), model.input().side(),
                              inference_ ? "merged, forward only" : method_.name)},
        {"batch", fmt::format("{} images, {} threads", batch_size_, at::get_num_threads())},
        {"step", fmt::format("{} (median of {}; {} to {})", seconds(middle), steps_, seconds(*fastest), seconds(*slowest))},
        {"rate", fmt::format("{:.1f} images/s", rate)}};
    if (!inference_) {
      entries.emplace_back("kept for backward", bytes(saved_bytes_));
      entries.emplace_back("trained parameters", count(trained_));
    }
    entries.emplace_back("peak memory", bytes(peak_memory_));
    print(key_values(entries));
  }

  std::string model_ = "vit_base_patch16_224";
  std::optional<int64_t> image_size_;
  int64_t num_classes_ = 100, batch_size_ = 32, steps_ = 5;
  bool inference_ = false;
  MethodFlags method_;

  at::Tensor images_, labels_;
  std::vector<double> step_seconds_;
  int64_t saved_bytes_ = 0, peak_memory_ = 0, trained_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_bench() {
  return std::make_unique<Bench>();
}

}  // namespace respeft::cli
