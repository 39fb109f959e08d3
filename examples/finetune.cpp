// Fine-tunes a Vision Transformer with RLRR, merges the adapters into its weights and exports it.
// The weights and the images are random, so that the program runs anywhere; real use starts from published weights.

#include <respeft/respeft.h>
#include <torch/optim/adamw.h>

#include <cstdio>

namespace {

/// Images whose class is their brightness.
std::pair<at::Tensor, at::Tensor> make_batch(int64_t size) {
  const auto labels = at::randint(0, 3, {size});
  const auto images = at::randn({size, 3, 32, 32}) * 0.5 + (labels.to(at::kFloat) - 1.0).view({-1, 1, 1, 1});
  return {images, labels};
}

}  // namespace

int main(int argc, char** argv) {
  at::manual_seed(0);
  // README begins
  auto model = respeft::models::create("vit_tiny_patch16_224", {.num_classes = 3, .image_size = 32});
  if (argc > 1) respeft::models::load_weights(*model, argv[1]);  // timm, Hugging Face, Google or DINOv2

  auto adapters = respeft::attach(*model, respeft::Rlrr{});  // freezes the base
  torch::optim::AdamW optimizer(adapters->trainable_parameters(), torch::optim::AdamWOptions(3e-3));
  model->train();
  for (int step = 0; step < 30; ++step) {
    const auto [images, labels] = make_batch(16);
    const auto loss = at::cross_entropy_loss(model->forward(images), labels);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    if (step % 10 == 0) std::printf("step %2d  loss %.3f\n", step, loss.item<double>());
  }

  model->eval();
  const respeft::MergeReport report = respeft::merge(*model);  // folds every adapter into the weights
  respeft::export_torchscript(*model, "vit.pt");               // loads in PyTorch without this library
  // README ends
  std::printf("merged %zu layers %s; wrote vit.pt\n", report.sites.size(), report.exact() ? "exactly" : "approximately");

  const at::NoGradGuard no_grad;
  const auto [images, labels] = make_batch(200);
  const auto accuracy = (model->forward(images).argmax(1) == labels).to(at::kFloat).mean().item<double>();
  std::printf("accuracy %.1f %%\n", 100.0 * accuracy);
  return report.exact() && accuracy > 0.9 ? 0 : 1;
}
