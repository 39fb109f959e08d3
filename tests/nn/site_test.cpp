#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/nn/adapter.h>
#include <respeft/nn/layer_norm.h>
#include <respeft/nn/linear.h>
#include <respeft/nn/patch_embed.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

namespace respeft::nn {
namespace {

/// Adds a trained number to the output.
class Offset : public WeightAdapter {
 public:
  Offset() { amount = register_parameter("amount", at::ones({})); }
  at::Tensor forward(const at::Tensor& x, const Base& base, ForwardPass& pass) override {
    ++pass.state<int>(this);
    seen = pass.state<int>(this);
    return base.compute(x) + amount;
  }
  std::optional<Fold> fold(const at::Tensor& weight, const at::Tensor& bias) const override {
    return Fold{weight, bias + amount};
  }

  at::Tensor amount;
  int seen = 0;
};

struct Net : torch::nn::Module {
  Net() {
    stem = register_module("stem", Linear(torch::nn::LinearOptions(4, 6).bias(false)));
    auto& list = *register_module("layers", std::make_shared<torch::nn::Module>());
    for (int i = 0; i < 2; ++i) {
      auto& layer = *list.register_module(std::to_string(i), std::make_shared<torch::nn::Module>());
      layer.register_module("norm1", LayerNorm(torch::nn::LayerNormOptions({6})));
      Linear qkv(torch::nn::LinearOptions(6, 18), std::vector<std::string>{"q", "k", "v"});
      layer.register_module("projections", qkv)->set_place({.role = "qkv", .block = i});
    }
    patch = register_module("patch_embed", PatchProjection(3, 6, 2));
  }
  Linear stem{nullptr};
  PatchProjection patch{nullptr};
};

TEST(Sites, AreFoundWithNameRoleBlockAndParts) {
  Net net;
  const auto sites = find_sites(net);
  ASSERT_EQ(sites.size(), 6u);
  EXPECT_EQ(sites[0].info.name, "stem");
  EXPECT_EQ(sites[0].info.block, -1);
  EXPECT_EQ(sites[0].info.parts, std::vector<std::string>{"stem"});
  EXPECT_EQ(sites[1].info.name, "layers.0.norm1");
  EXPECT_EQ(sites[1].info.kind, SiteKind::Norm);
  EXPECT_EQ(sites[4].info.name, "layers.1.projections");
  EXPECT_EQ(sites[4].info.block, 1);
  EXPECT_EQ(sites[4].info.role, "qkv");
  EXPECT_EQ(sites[4].info.parts, (std::vector<std::string>{"q", "k", "v"}));
  EXPECT_EQ(sites[4].info.part_features(), 6);
  EXPECT_EQ(sites[5].info.role, "patch");
  EXPECT_EQ(sites[5].info.in_features, 12);
}

TEST(Layers, HaveTorchsKeysAndResults) {
  at::manual_seed(1);
  Linear ours(5, 3);
  torch::nn::Linear theirs(5, 3);
  ASSERT_EQ(ours->named_parameters().keys(), theirs->named_parameters().keys());
  const at::NoGradGuard no_grad;
  theirs->weight.copy_(ours->weight);
  theirs->bias.copy_(ours->bias);
  const auto x = at::randn({2, 7, 5});
  EXPECT_TRUE(at::equal(ours->forward(x), theirs->forward(x)));

  LayerNorm norm(torch::nn::LayerNormOptions({5}).eps(1e-6));
  torch::nn::LayerNorm torch_norm(torch::nn::LayerNormOptions({5}).eps(1e-6));
  EXPECT_EQ(norm->named_parameters().keys(), torch_norm->named_parameters().keys());
  EXPECT_TRUE(at::equal(norm->forward(x), torch_norm->forward(x)));
}

TEST(Layers, LinearStartsAsTorchsDoes) {
  at::manual_seed(3);
  Linear ours(5, 3);
  at::manual_seed(3);
  torch::nn::Linear theirs(5, 3);
  EXPECT_TRUE(at::equal(ours->weight, theirs->weight));
  EXPECT_TRUE(at::equal(ours->bias, theirs->bias));
}

TEST(Layers, AFusedLinearGivesChosenParts) {
  Linear qkv(torch::nn::LinearOptions(4, 12), std::vector<std::string>{"q", "k", "v"});
  const auto x = at::randn({3, 4});
  ForwardPass pass;
  const auto whole = qkv->forward(x);
  EXPECT_TRUE(at::allclose(qkv->run(x, pass, {1, 3}), whole.slice(1, 4)));
  EXPECT_THROW(qkv->run(x, pass, {2, 4}), c10::Error);
}

TEST(Layers, PatchesAreTokensRowByRow) {
  PatchProjection patch(1, 1, 2);
  const at::NoGradGuard no_grad;
  patch->weight.fill_(1.0);
  patch->bias.zero_();
  const auto image = at::arange(16, at::kFloat).view({1, 1, 4, 4});
  // Sums of the four 2x2 squares of 0..15.
  EXPECT_TRUE(at::equal(patch->forward(image).view({4}), at::tensor({10.f, 18.f, 42.f, 50.f})));
  EXPECT_THROW(patch->forward(at::zeros({1, 1, 5, 4})), c10::Error);
}

TEST(Adapters, AreSubmodulesAndLeaveNoTrace) {
  Linear layer(3, 2);
  const auto x = at::randn({4, 3});
  const auto plain = layer->forward(x);
  auto adapter = std::make_shared<Offset>();
  layer->attach(adapter);
  EXPECT_TRUE(layer->named_parameters().contains("adapter.amount"));
  EXPECT_TRUE(at::allclose(layer->forward(x), plain + 1.0));
  EXPECT_THROW(layer->attach(std::make_shared<Offset>()), c10::Error);
  EXPECT_EQ(layer->detach(), adapter);
  EXPECT_EQ(layer->named_parameters().size(), 2u);
  EXPECT_TRUE(at::equal(layer->forward(x), plain));
}

TEST(Adapters, StateBelongsToOnePass) {
  Linear layer(3, 2);
  auto adapter = std::make_shared<Offset>();
  layer->attach(adapter);
  const auto x = at::randn({1, 3});
  ForwardPass first, second;
  layer->run(x, first);
  layer->run(x, first);
  EXPECT_EQ(adapter->seen, 2);
  layer->run(x, second);
  EXPECT_EQ(adapter->seen, 1);
}

TEST(Sites, ReplacingTheBaseLeavesSharedTensorsAlone) {
  Linear layer(torch::nn::LinearOptions(3, 2).bias(false));
  const auto old = layer->weight;
  const auto copy = old.clone();
  layer->replace_base(at::ones({2, 3}), at::zeros({2}));
  EXPECT_TRUE(at::equal(old, copy));
  EXPECT_TRUE(at::equal(layer->named_parameters()["weight"], at::ones({2, 3})));
  EXPECT_TRUE(layer->named_parameters().contains("bias"));
  EXPECT_THROW(layer->replace_base(at::ones({3, 2}), {}), c10::Error);
}

TEST(Sites, AMergedLayerRefusesToTrainUntilToldAnew) {
  Linear layer(3, 2);
  layer->replace_base(at::ones({2, 3}), at::zeros({2}));
  const auto x = at::ones({1, 3});
  EXPECT_THROW(layer->forward(x), c10::Error);
  {
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::equal(layer->forward(x), at::full({1, 2}, 3.0)));
  }
  layer->eval();
  EXPECT_NO_THROW(layer->forward(x));
  layer->train();
  layer->allow_training();
  EXPECT_NO_THROW(layer->forward(x));
}

}  // namespace
}  // namespace respeft::nn
