// Adapters at layers that are not linear: convolutions and embeddings of a network of one's own.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/container/sequential.h>

#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/ssf.h>
#include <respeft/nn/conv2d.h>
#include <respeft/nn/embedding.h>
#include <respeft/nn/linear.h>

namespace respeft {
namespace {

/// Words of 7 kinds, looked up and convolved as pictures.
struct Net : torch::nn::Module {
  Net() {
    words = register_module("words", nn::Embedding(torch::nn::EmbeddingOptions(7, 6)));
    conv = register_module("conv", nn::Conv2d(torch::nn::Conv2dOptions(6, 5, {3, 2}).stride(2).padding(1)));
    for (auto& parameter : parameters()) parameter.set_data(parameter.to(at::kDouble));
    words->weight = words->named_parameters()["weight"];
    conv->weight = conv->named_parameters()["weight"], conv->bias = conv->named_parameters()["bias"];
  }

  /// Indices `[B, H, W]` -> `[B, 5, H', W']`.
  at::Tensor forward(const at::Tensor& indices) {
    nn::ForwardPass pass;
    return conv->run(words->run(indices, pass).permute({0, 3, 1, 2}), pass);
  }

  nn::Embedding words{nullptr};
  nn::Conv2d conv{nullptr};
};

at::Tensor indices() {
  at::manual_seed(5);
  return at::randint(7, {3, 5, 4}, at::kLong);
}

void shake(const Attachment& attachment) {
  const at::NoGradGuard no_grad;
  for (auto parameter : attachment.trainable_parameters()) parameter.add_(at::randn_like(parameter), 0.3);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

TEST(Layers, LoraStartsAtTheBaseAndFoldsExactly) {
  at::manual_seed(0);
  Net net;
  const auto x = indices();
  const auto plain = net.forward(x);
  const auto attachment = attach(net, Lora({.rank = 2, .alpha = 3.0, .targets = "embeddings,convolutions"}));
  EXPECT_EQ(largest_difference(net.forward(x), plain), 0.0);
  ASSERT_EQ(attachment->trainable().size(), 4u);
  EXPECT_EQ(attachment->trainable()[0].first, "words.adapter.lora_embedding_A");  // PEFT's names and shapes
  EXPECT_EQ(attachment->trainable()[0].second.sizes(), at::IntArrayRef({2, 7}));
  EXPECT_EQ(attachment->trainable()[1].second.sizes(), at::IntArrayRef({6, 2}));
  EXPECT_EQ(attachment->trainable()[2].first, "conv.adapter.lora_A");
  EXPECT_EQ(attachment->trainable()[2].second.sizes(), at::IntArrayRef({2, 6, 3, 2}));
  EXPECT_EQ(attachment->trainable()[3].second.sizes(), at::IntArrayRef({5, 2, 1, 1}));
  shake(*attachment);
  const auto adapted = net.forward(x);
  EXPECT_GT(largest_difference(adapted, plain), 1e-2);
  const auto report = merge(net);
  EXPECT_TRUE(report.exact());
  EXPECT_EQ(report.sites.size(), 2u);
  net.eval();
  EXPECT_LE(largest_difference(net.forward(x), adapted), 1e-12);
}

/// Written out: `conv(x, W + s B A) + b` and `(E + s (B A)ᵀ)[i]` with B A the product of the factors as matrices.
TEST(Layers, LoraComputesTheUpdatedLayers) {
  at::manual_seed(1);
  Net net;
  const auto x = indices();
  const auto attachment = attach(net, Lora({.rank = 2, .alpha = 3.0, .targets = "embeddings,convolutions"}));
  shake(*attachment);
  const auto& factors = attachment->trainable();
  const auto table = net.words->weight + 1.5 * factors[1].second.mm(factors[0].second).t();
  const auto kernel = net.conv->weight + 1.5 * factors[3].second.flatten(1).mm(factors[2].second.flatten(1)).view({5, 6, 3, 2});
  const auto looked_up = at::embedding(table, x).permute({0, 3, 1, 2});
  const auto expected = at::conv2d(looked_up, kernel, net.conv->bias, /*stride=*/2, /*padding=*/1);
  EXPECT_LE(largest_difference(net.forward(x), expected), 1e-12);
}

TEST(Layers, SsfScalesChannelsAndVectors) {
  at::manual_seed(2);
  Net net;
  const auto x = indices();
  const auto attachment = attach(net, Ssf());
  ASSERT_EQ(attachment->trainable().size(), 4u);
  const auto& factors = attachment->trainable();
  const auto looked_up = (at::embedding(net.words->weight, x) * factors[0].second + factors[1].second).permute({0, 3, 1, 2});
  const auto convolved = at::conv2d(looked_up, net.conv->weight, net.conv->bias, /*stride=*/2, /*padding=*/1);
  const auto expected = convolved * factors[2].second.view({5, 1, 1}) + factors[3].second.view({5, 1, 1});
  const auto adapted = net.forward(x);
  EXPECT_LE(largest_difference(adapted, expected), 1e-12);
  EXPECT_TRUE(merge(net).exact());
  net.eval();
  EXPECT_LE(largest_difference(net.forward(x), adapted), 1e-12);
  EXPECT_EQ(net.named_parameters().size(), 3u) << "an embedding gets no bias";
}

TEST(Layers, GroupsAndAllocatedRanksAreRefused) {
  torch::nn::Module model;
  model.register_module("conv", nn::Conv2d(torch::nn::Conv2dOptions(4, 4, 3).groups(2)));
  EXPECT_THROW(attach(model, Lora({.rank = 1, .targets = "conv"})), std::invalid_argument);
  Net net;
  RankAllocationOptions allocation;
  allocation.target_rank = 1;
  EXPECT_THROW(attach(net, Lora({.rank = 2, .targets = "convolutions", .allocation = allocation})), std::invalid_argument);
}

TEST(Layers, StandInASequential) {
  torch::nn::Sequential layers(nn::Linear(4, 3), nn::Linear(3, 2));
  EXPECT_EQ(layers->forward(at::randn({5, 4})).sizes(), at::IntArrayRef({5, 2}));
}

}  // namespace
}  // namespace respeft
