#pragma once

#include <ATen/ATen.h>
#include <respeft/models/vit/vit.h>

#include <memory>

namespace respeft::test {

/// Two blocks, 32 features, 2 heads, 16×16 pixels in patches of 4.
inline models::VitConfig small_config() {
  models::VitConfig config;
  config.name = "vit_small_test";
  config.image_size = 16;
  config.patch_size = 4;
  config.num_classes = 5;
  config.embed_dim = 32;
  config.depth = 2;
  config.num_heads = 2;
  config.mlp_dim = 64;
  return config;
}

/// A model in which every parameter is random, so that none can be mistaken for another.
inline std::shared_ptr<models::VisionTransformerImpl> random_model(const models::VitConfig& config, uint64_t seed = 0) {
  at::manual_seed(seed);
  auto model = std::make_shared<models::VisionTransformerImpl>(config);
  const at::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.normal_(0.0, 0.2);
  for (const auto& item : model->named_parameters()) {
    if (item.key().find("norm") != std::string::npos && item.key().find("weight") != std::string::npos) item.value().add_(1.0);
  }
  model->eval();
  return model;
}

inline at::Tensor random_images(const models::VitConfig& config, int64_t batch = 3) {
  at::manual_seed(99);
  return at::randn({batch, config.in_channels, config.image_size, config.image_size});
}

inline at::Tensor logits(models::Model& model, const at::Tensor& images) {
  const at::NoGradGuard no_grad;
  return model.forward(images);
}

}  // namespace respeft::test
