// A task of one's own: images with any number of labels each.

#include <respeft/respeft.h>
#include <torch/optim/adamw.h>

#include <cstdio>

namespace {

using namespace respeft;

// docs begins: metrics
/// Mean loss, and the share of labels that are right.
class MultiLabelMetrics : public tasks::Metrics {
 public:
  explicit MultiLabelMetrics(at::Device device) : sums_(at::zeros({4}, at::TensorOptions(device).dtype(at::kDouble))) {}

  void add(const at::Tensor& output, const Batch& batch, const tasks::Loss& loss) override {
    const at::Tensor right = (output > 0).eq(batch.at(kLabels) > 0.5).sum();
    sums_ += at::stack({loss.sum.detach().to(at::kDouble), at::full({}, loss.count, sums_.options()), right.to(at::kDouble),
                        at::full({}, output.numel(), sums_.options())});
  }
  at::Tensor& sums() override { return sums_; }  // ranks add theirs up
  tasks::NamedValues read() const override {
    const at::Tensor s = sums_.cpu();
    const double* value = s.const_data_ptr<double>();
    return {{"loss", value[0] / value[1]}, {"accuracy", value[2] / value[3]}};
  }

 private:
  at::Tensor sums_;  ///< loss, examples, right labels, labels; on the device, so that adding never waits for it
};
// docs ends

// docs begins: task
/// The model's outputs `[B, classes]` are logits, each of its own label; `labels [B, classes]` are 0 or 1.
class MultiLabel : public tasks::Task {
 public:
  std::string name() const override { return "multi-label"; }
  at::Tensor forward(models::Model& model, const Batch& batch) const override { return model.forward(batch); }
  tasks::Loss loss(const at::Tensor& output, const Batch& batch, bool /*training*/) const override {
    const auto each = at::binary_cross_entropy_with_logits(output, batch.at(kLabels), {}, {}, at::Reduction::None);
    return {each.mean(1).sum(), output.size(0)};
  }
  std::unique_ptr<tasks::Metrics> metrics(at::Device device) const override {
    return std::make_unique<MultiLabelMetrics>(device);
  }
  std::string score_name() const override { return "accuracy"; }
};
// docs ends

}  // namespace

int main() {
  at::manual_seed(0);
  auto model = models::create("vit_tiny_patch16_224", {.num_classes = 4, .image_size = 32});
  auto adapters = attach(*model, Rlrr({.init = "identity"}));
  torch::optim::AdamW optimizer(adapters->trainable_parameters(), torch::optim::AdamWOptions(3e-3));
  const MultiLabel task;
  const Batch batch = {{kPixels, at::randn({8, 3, 32, 32})}, {kLabels, at::randint(2, {8, 4}).to(at::kFloat)}};
  tasks::NamedValues figures;
  double first_loss = 0.0;
  for (int step = 0; step < 30; ++step) {
    // docs begins: step
    const at::Tensor output = task.forward(*model, batch);
    const tasks::Loss loss = task.loss(output, batch, /*training=*/true);
    optimizer.zero_grad();
    (loss.sum / static_cast<double>(loss.count)).backward();
    optimizer.step();
    const auto metrics = task.metrics(at::kCPU);
    metrics->add(output, batch, loss);
    // docs ends
    figures = metrics->read();
    if (step == 0) first_loss = figures[0].second;
  }
  std::printf("loss %.3f -> %.3f, accuracy %.2f\n", first_loss, figures[0].second, figures[1].second);
  return figures[0].second < 0.5 * first_loss && figures[1].second > 0.9 ? 0 : 1;
}
