#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/rlrr.h>
#include <respeft/models/vit/vit.h>
#include <torch/csrc/autograd/autograd.h>

#include <future>

namespace respeft::models {
namespace {

std::shared_ptr<VisionTransformerImpl> small_vit(VitConfig config = {}) {
  config.name = "vit";
  config.image_size = 16;
  config.patch_size = 8;
  config.embed_dim = 12;
  config.depth = 3;
  config.num_heads = 3;
  config.mlp_dim = 20;
  config.num_classes = 5;
  auto model = std::make_shared<VisionTransformerImpl>(config);
  const at::NoGradGuard no_grad;
  for (auto& parameter : model->parameters()) parameter.add_(at::randn_like(parameter) * 0.3);
  return model;
}

/// Names and sizes as in timm 1.0's registry.
TEST(Vit, ConfigurationsAreTimms) {
  const auto base = vit_config("vit_base_patch16_224.augreg_in21k");
  EXPECT_EQ(base.name, "vit_base_patch16_224");
  EXPECT_EQ(base.tokens(), 197);
  EXPECT_FALSE(base.layer_scale.has_value());
  const auto dino = vit_config("vit_small_patch14_reg4_dinov2");
  EXPECT_EQ(dino.image_size, 518);
  EXPECT_EQ(dino.tokens(), 37 * 37 + 5);
  EXPECT_FALSE(dino.position_for_prefix);
  EXPECT_TRUE(dino.layer_scale.has_value());
  for (const auto& name : list()) EXPECT_NO_THROW(vit_config(name)) << name;
}

// Parameters of timm 1.0.x: sum(p.numel() for p in timm.create_model(name).parameters()).
TEST(Vit, ParameterCountsAreTimms) {
  const std::map<std::string, int64_t> expected = {{"vit_tiny_patch16_224", 5717416},    {"vit_small_patch16_224", 22050664},
                                                   {"vit_base_patch16_224", 86567656},   {"vit_base_patch32_224", 88224232},
                                                   {"vit_large_patch16_224", 304326632}, {"vit_huge_patch14_224", 632045800}};
  for (const auto& [name, parameters] : expected) {
    int64_t count = 0;
    for (const auto& parameter : create(name, {.device = at::kMeta})->parameters()) count += parameter.numel();
    EXPECT_EQ(count, parameters) << name;
  }
}

TEST(Vit, NamesThatAreNotModelsAreRefused) {
  const auto message = [](const std::string& name, const ModelOptions& options) -> std::string {
    try {
      create(name, options);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("vit_bse_patch16_224", {}).find("did you mean 'vit_base_patch16_224'?"), std::string::npos);
  EXPECT_NE(message("vit_tiny_patch16_224", {.image_size = 100}).find("100 is not a multiple"), std::string::npos);
  EXPECT_NE(message("vit_tiny_patch16_224", {.pool = "max"}).find("unknown pooling 'max'"), std::string::npos);
}

TEST(Vit, TheClassTokenOnlyLastBlockIsExact) {
  for (const int64_t registers : {0, 2}) {
    VitConfig config;
    config.register_tokens = registers;
    config.layer_scale = 0.5;
    auto model = small_vit(config);
    for (const bool adapted : {false, true}) {
      if (adapted) attach(*model, Rlrr());
      nn::ForwardPass pass;
      const auto images = at::randn({2, 3, 16, 16});
      // All tokens through all blocks, then the class token.
      const auto class_only = model->forward_features(images, pass);
      ASSERT_EQ(class_only.sizes(), at::IntArrayRef({2, 1, 12}));
      auto all = model->config;
      all.mean_pooling = true;
      std::swap(model->config, all);
      const auto every = model->norm->forward(model->forward_features(images, pass));
      std::swap(model->config, all);
      EXPECT_TRUE(at::allclose(class_only, every.narrow(1, 0, 1), 1e-5, 1e-6));
    }
  }
}

TEST(Vit, AStepIsWhatPlainAtenGives) {
  at::manual_seed(4);
  auto model = small_vit();
  const auto attachment = attach(*model, Rlrr());
  model->train();
  model->to(at::kDouble);
  const auto images = at::randn({3, 3, 16, 16}, at::kDouble);
  const auto target = at::tensor({0, 3, 4}, at::kLong);
  auto p = model->named_parameters();
  const auto ours =
      torch::autograd::grad({at::cross_entropy_loss(model->forward(images), target)}, attachment->trainable_parameters());

  // The same network from the parameters, operator by operator (METHODS, section 1).
  const auto linear = [&](const std::string& name, const at::Tensor& x) {
    const auto in = p[name + ".adapter.scale_in"], weight = p[name + ".weight"];
    const auto rows = in.dim() == 2 ? in.repeat_interleave(weight.size(0) / in.size(0), 0) : in.unsqueeze(0);
    return at::matmul(x, (weight * (1.0 + p[name + ".adapter.scale_out"].unsqueeze(1) * rows)).t()) + p[name + ".bias"] +
           p[name + ".adapter.shift"];
  };
  const auto affine = [&](const std::string& name, const at::Tensor& y) {
    return y * p[name + ".adapter.scale"] + p[name + ".adapter.shift"];
  };
  const auto norm = [&](const std::string& name, const at::Tensor& x) {
    const auto centered = x - x.mean(-1, true);
    const auto normal = centered / (centered.square().mean(-1, true) + 1e-6).sqrt();
    return affine(name, normal * p[name + ".weight"] + p[name + ".bias"]);
  };
  auto x =
      affine("patch_embed.proj",
             at::conv2d(images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], {8, 8}).flatten(2).transpose(1, 2));
  x = at::cat({p["cls_token"].expand({3, 1, 12}), x}, 1) + p["pos_embed"];
  for (int block = 0; block < 3; ++block) {
    const auto name = "blocks." + std::to_string(block);
    const auto qkv = linear(name + ".attn.qkv", norm(name + ".norm1", x)).view({3, 5, 3, 3, 4}).permute({2, 0, 3, 1, 4});
    const auto weights = (at::matmul(qkv[0], qkv[1].transpose(-2, -1)) / 2.0).softmax(-1);
    x = x + linear(name + ".attn.proj", at::matmul(weights, qkv[2]).transpose(1, 2).reshape({3, 5, 12}));
    const auto hidden = linear(name + ".mlp.fc1", norm(name + ".norm2", x));
    x = x + linear(name + ".mlp.fc2", 0.5 * hidden * (1.0 + (hidden / std::sqrt(2.0)).erf()));
  }
  const auto logits = at::matmul(norm("norm", x).select(1, 0), p["head.weight"].t()) + p["head.bias"];
  const auto loss = -logits.log_softmax(1).gather(1, target.unsqueeze(1)).mean();
  const auto truth = torch::autograd::grad({loss}, attachment->trainable_parameters());
  for (size_t i = 0; i < truth.size(); ++i) {
    const double size = truth[i].abs().max().item<double>();
    EXPECT_GT(size, 0.0) << attachment->trainable()[i].first;
    EXPECT_LE((ours[i] - truth[i]).abs().max().item<double>(), 1e-10 * size) << attachment->trainable()[i].first;
  }
}

TEST(Vit, DropsBranchesOnlyWhileTraining) {
  for (const bool path : {true, false}) {
    VitConfig config;
    (path ? config.drop_path : config.branch_dropout) = 0.5;
    auto model = small_vit(config);
    const auto images = at::randn({4, 3, 16, 16});
    model->train();
    EXPECT_FALSE(at::equal(model->forward(images), model->forward(images)));
    model->eval();
    EXPECT_TRUE(at::equal(model->forward(images), model->forward(images)));
  }
}

TEST(Vit, ServesSeveralThreadsAtOnce) {
  auto model = small_vit();
  attach(*model, Rlrr());
  model->eval();
  const auto images = at::randn({2, 3, 16, 16});
  const auto expected = model->forward(images);
  std::vector<std::future<bool>> runs;
  for (int i = 0; i < 4; ++i) {
    runs.push_back(std::async(std::launch::async, [&] {
      const at::NoGradGuard no_grad;
      for (int k = 0; k < 10; ++k) {
        if (!at::allclose(model->forward(images), expected, 1e-5, 1e-6)) return false;
      }
      return true;
    }));
  }
  for (auto& run : runs) EXPECT_TRUE(run.get());
}

TEST(Vit, MergedLogitsAreTheAdaptedOnes) {
  at::manual_seed(2);
  auto model = small_vit();
  attach(*model, Rlrr());
  model->eval();
  const at::NoGradGuard no_grad;
  const auto images = at::randn({8, 3, 16, 16});
  const auto adapted = model->forward(images);
  merge(*model);
  const auto comparison = compare_logits(adapted, model->forward(images), adapted.argmax(1));
  EXPECT_LE(comparison.relative_difference, 5e-6);
  EXPECT_EQ(comparison.agreement, 1.0);
  EXPECT_EQ(*comparison.accuracy_first, 1.0);
}

TEST(Vit, ANewHeadIsNeutral) {
  auto model = small_vit();
  model->reset_head(7);
  const auto logits = model->forward(at::randn({2, 3, 16, 16}));
  EXPECT_TRUE(at::equal(logits, at::zeros({2, 7})));
}

}  // namespace
}  // namespace respeft::models
