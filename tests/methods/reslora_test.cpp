#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/reslora.h>
#include <respeft/models/vit/vit.h>
#include <respeft/nn/linear.h>
#include <torch/csrc/autograd/autograd.h>

#include <thread>

#include "tests/expect_error.h"

namespace respeft {
namespace {

using test::expect_error;

constexpr int64_t kFeatures = 6, kRank = 2;
constexpr double kAlpha = 3.0;

struct BlockImpl : torch::nn::Module {
  BlockImpl() {
    qkv = register_module(
        "qkv", nn::Linear(torch::nn::LinearOptions(kFeatures, 3 * kFeatures), std::vector<std::string>{"q", "k", "v"}));
    fc = register_module("fc", nn::Linear(torch::nn::LinearOptions(kFeatures, kFeatures).bias(false)));
  }
  nn::Linear qkv{nullptr}, fc{nullptr};
};
TORCH_MODULE(Block);

/// A residual network of fused and plain linears, in float64.
struct Net : torch::nn::Module {
  explicit Net(int64_t depth) {
    at::manual_seed(3);
    auto& list = *register_module("blocks", std::make_shared<torch::nn::Module>("blocks"));
    for (int64_t i = 0; i < depth; ++i) {
      blocks.emplace_back();
      list.register_module(std::to_string(i), blocks.back());
      blocks.back()->qkv->set_place({.block = i});
      blocks.back()->fc->set_place({.block = i});
    }
    to(at::kDouble);
  }

  /// Calls `qkv(i, x)` and `fc(i, x)` for the layers of block i.
  template <class Qkv, class Fc>
  at::Tensor run(at::Tensor x, const Qkv& qkv, const Fc& fc) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      const auto parts = qkv(i, x).chunk(3, -1);
      x = x + (parts[0] * parts[1].sigmoid() + parts[2]).tanh();
      x = x + fc(i, x).tanh();
    }
    return x;
  }
  at::Tensor forward(const at::Tensor& input) {
    nn::ForwardPass pass;
    return run(
        input, [&](size_t i, const at::Tensor& x) { return blocks[i]->qkv->run(x, pass); },
        [&](size_t i, const at::Tensor& x) { return blocks[i]->fc->run(x, pass); });
  }

  std::vector<Block> blocks;
};

/// One chain, computed the plain way: a list of all inputs so far (METHODS, section 2).
class Reference {
 public:
  Reference(Net& net, const std::string& layer, const std::string& projection, Shortcut shortcut, int64_t pre_num)
      : shortcut_(shortcut), pre_num_(pre_num) {
    const auto parameters = net.named_parameters();
    for (size_t i = 0; i < net.blocks.size(); ++i) {
      const std::string prefix =
          "blocks." + std::to_string(i) + "." + layer + ".adapter." + (projection.empty() ? "" : projection + ".");
      const auto* e = parameters.find(prefix + "lora_E");
      a_.push_back(e ? *e * parameters[prefix + "lora_A"] : parameters[prefix + "lora_A"]);
      b_.push_back(parameters[prefix + "lora_B"]);
    }
  }

  at::Tensor update(size_t n, const at::Tensor& x) {
    inputs_.push_back(x);
    const size_t m = pre_num_ < 0 ? n : std::min(n, static_cast<size_t>(pre_num_));
    at::Tensor update;
    if (shortcut_ == Shortcut::Input) {
      update = at::linear(at::linear(x + inputs_[n == 0 ? 0 : n - 1], a_[n]), b_[n]);
    } else if (shortcut_ == Shortcut::Block) {
      update = at::zeros({}, x.options());
      for (size_t k = 0; k <= m; ++k) update = update + at::linear(at::linear(x, a_[n - k]), b_[n - k]);
    } else {
      at::Tensor middle = at::zeros({}, x.options());
      for (size_t k = 0; k <= m; ++k) middle = middle + at::linear(inputs_[n - k], a_[n - k]);
      update = at::linear(middle, b_[n]);
    }
    return update * (kAlpha / kRank);
  }

 private:
  Shortcut shortcut_;
  int64_t pre_num_;
  std::vector<at::Tensor> a_, b_, inputs_;
};

at::Tensor reference(Net& net, const at::Tensor& input, Shortcut shortcut, int64_t pre_num) {
  Reference q(net, "qkv", "q", shortcut, pre_num), v(net, "qkv", "v", shortcut, pre_num), fc(net, "fc", "", shortcut, pre_num);
  return net.run(
      input,
      [&](size_t i, const at::Tensor& x) {
        const auto plain = at::linear(x, net.blocks[i]->qkv->weight, net.blocks[i]->qkv->bias);
        return plain + at::cat({q.update(i, x), at::zeros_like(x), v.update(i, x)}, -1);
      },
      [&](size_t i, const at::Tensor& x) { return at::linear(x, net.blocks[i]->fc->weight) + fc.update(i, x); });
}

/// Attaches to q, v and fc, and moves every parameter away from its start.
std::vector<at::Tensor> adapt(torch::nn::Module& net, Method&& method) {
  const auto parameters = attach(net, method, AttachOptions{{}})->trainable_parameters();
  const at::NoGradGuard no_grad;
  for (auto parameter : parameters) parameter.add_(at::randn_like(parameter), 0.2);
  return parameters;
}

ResLoraOptions options(int64_t pre_num = -1) {
  return {.rank = kRank, .alpha = kAlpha, .pre_num = pre_num, .targets = "q,v,fc"};
}

double largest(const at::Tensor& tensor) {
  return tensor.abs().max().item<double>();
}

class ResLoraChain : public testing::TestWithParam<std::tuple<Shortcut, int64_t, int64_t>> {};

TEST_P(ResLoraChain, OutputAndGradientsAreThoseOfTheListOfInputs) {
  const auto [shortcut, depth, pre_num] = GetParam();
  if (shortcut == Shortcut::Input && pre_num != -1 && pre_num != 1) {
    EXPECT_THROW(ResLora(shortcut, options(pre_num)), std::invalid_argument);
    return;
  }
  for (const int64_t batch : {1, 3}) {
    Net net(depth);
    const auto parameters = adapt(net, ResLora(shortcut, options(pre_num)));
    EXPECT_EQ(parameters.size(), static_cast<size_t>(depth) * 6);
    const auto x = at::randn({batch, 5, kFeatures}, at::kDouble).requires_grad_(true);
    const auto y = net.forward(x), truth = reference(net, x, shortcut, shortcut == Shortcut::Input ? 1 : pre_num);
    EXPECT_LE(largest(y - truth), 1e-12 * largest(truth));
    auto leaves = parameters;
    leaves.push_back(x);
    const auto direction = at::randn_like(truth);
    const auto ours = torch::autograd::grad({y}, leaves, {direction}),
               exact = torch::autograd::grad({truth}, leaves, {direction});
    for (size_t i = 0; i < leaves.size(); ++i)
      EXPECT_LE(largest(ours[i] - exact[i]), 1e-11 * std::max(1.0, largest(exact[i]))) << i;
  }
}

/// The same with allocated ranks: diag(E) A stands for A.
TEST_P(ResLoraChain, OutputAndGradientsWithAllocatedRanksToo) {
  const auto [shortcut, depth, pre_num] = GetParam();
  if (pre_num != -1 && pre_num != 1) return;
  Net net(depth);
  auto chosen = options(pre_num);
  chosen.allocation.target_rank = 1;
  const auto parameters = adapt(net, ResLora(shortcut, chosen));
  EXPECT_EQ(parameters.size(), static_cast<size_t>(depth) * 9);
  const auto x = at::randn({3, 5, kFeatures}, at::kDouble);
  const auto y = net.forward(x), truth = reference(net, x, shortcut, shortcut == Shortcut::Input ? 1 : pre_num);
  EXPECT_LE(largest(y - truth), 1e-12 * largest(truth));
  const auto direction = at::randn_like(truth);
  const auto ours = torch::autograd::grad({y}, parameters, {direction}),
             exact = torch::autograd::grad({truth}, parameters, {direction});
  for (size_t i = 0; i < parameters.size(); ++i)
    EXPECT_LE(largest(ours[i] - exact[i]), 1e-11 * std::max(1.0, largest(exact[i]))) << i;
}

INSTANTIATE_TEST_SUITE_P(Depths, ResLoraChain,
                         testing::Combine(testing::Values(Shortcut::Input, Shortcut::Block, Shortcut::Middle),
                                          testing::Values(1, 2, 5, 12), testing::Values(-1, 0, 1, 4)));

class EveryShortcut : public testing::TestWithParam<Shortcut> {};
INSTANTIATE_TEST_SUITE_P(ResLora, EveryShortcut, testing::Values(Shortcut::Input, Shortcut::Block, Shortcut::Middle));

TEST_P(EveryShortcut, WorksUnderAutocast) {
  Net net(5);
  net.to(at::kFloat);
  adapt(net, ResLora(GetParam(), options()));
  const auto x = at::randn({3, 5, kFeatures});
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const auto y = net.forward(x);
  at::autocast::set_autocast_enabled(at::kCPU, false);
  at::autocast::clear_cache();
  const auto truth = reference(net, x, GetParam(), GetParam() == Shortcut::Input ? 1 : -1);
  EXPECT_LE(largest(y - truth), 0.05 * largest(truth));
  EXPECT_GT(largest(y - truth), 0.0);
}

TEST_P(EveryShortcut, StartsAsTheBase) {
  Net net(3);
  const auto x = at::randn({2, kFeatures}, at::kDouble);
  const auto before = net.forward(x);
  attach(net, ResLora(GetParam(), options()), AttachOptions{{}});
  EXPECT_TRUE(at::equal(net.forward(x), before));
}

TEST_P(EveryShortcut, PassesDoNotTouchEachOther) {
  Net net(4);
  const auto parameters = adapt(net, ResLora(GetParam(), options()));
  const auto x = at::randn({2, 3, kFeatures}, at::kDouble), z = at::randn({5, 1, kFeatures}, at::kDouble);
  const auto alone = torch::autograd::grad({net.forward(x).sum()}, parameters);
  // Two forwards before one backward.
  const auto first = net.forward(x), second = net.forward(z);
  const auto later = torch::autograd::grad({first.sum()}, parameters);
  for (size_t i = 0; i < parameters.size(); ++i) EXPECT_TRUE(at::equal(alone[i], later[i]));
  // A forward that throws half way, then a good one.
  const auto weight = net.blocks[2]->fc->weight;
  net.blocks[2]->fc->weight = at::zeros({1, 1}, at::kDouble);
  EXPECT_THROW(net.forward(x), c10::Error);
  net.blocks[2]->fc->weight = weight;
  EXPECT_TRUE(at::equal(net.forward(x), first));
  // Four threads with one model.
  std::vector<at::Tensor> answers(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 20; ++repeat) answers[t] = net.forward(t % 2 == 0 ? x : z).detach();
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t t = 0; t < 4; ++t) EXPECT_TRUE(at::equal(answers[t], t % 2 == 0 ? first : second)) << t;
}

TEST_P(EveryShortcut, OneChainForEachProjection) {
  // What the class token alone asks for in the last block is what all tokens together would get.
  models::VitConfig config;
  config.name = "test", config.image_size = 8, config.patch_size = 4, config.num_classes = 3;
  config.embed_dim = 8, config.depth = 3, config.num_heads = 2, config.mlp_dim = 16;
  at::manual_seed(1);
  models::VisionTransformer vit(config);
  vit->to(at::kDouble);
  adapt(*vit, ResLora(GetParam(), {.rank = kRank}));
  vit->eval();
  const auto images = at::randn({2, 3, 8, 8}, at::kDouble);
  const auto answer = vit->forward(images);
  nn::ForwardPass pass;
  auto x = vit->patch_embed->forward(images, pass);
  x = at::cat({vit->cls_token.expand({2, -1, -1}), x}, 1) + vit->pos_embed;
  for (auto& block : vit->blocks) x = block->forward(x, pass);
  const auto all = vit->classify(vit->norm->run(x, pass).select(1, 0));
  EXPECT_LE(largest(answer - all), 1e-12 * largest(all));
}

TEST(ResLora, WithoutEarlierLayersTheBlockShortcutIsLora) {
  Net plain(4), shortcut(4);
  at::manual_seed(9);
  adapt(plain, Lora({.rank = kRank, .alpha = kAlpha, .targets = "q,v,fc"}));
  at::manual_seed(9);
  adapt(shortcut, ResLora(Shortcut::Block, options(0)));
  const auto x = at::randn({2, 3, kFeatures}, at::kDouble);
  EXPECT_TRUE(at::equal(plain.forward(x), shortcut.forward(x)));
}

TEST(ResLora, TheBlockShortcutFoldsExactly) {
  for (const int64_t pre_num : {-1, 0, 1, 4}) {
    Net net(6);
    adapt(net, ResLora(Shortcut::Block, options(pre_num)));
    const auto x = at::randn({2, 3, kFeatures}, at::kDouble);
    const auto before = net.forward(x);
    EXPECT_TRUE(merge(net).exact());
    net.eval();
    EXPECT_LE(largest(net.forward(x) - before), 1e-12 * largest(before));
  }
}

TEST(ResLora, AChainEndsAtAGapAndAtAnotherShape) {
  // Blocks 0 and 1, then 3 and 4: with the input shortcut, each chain's first layer sees its own input twice.
  Net net(5);
  auto chosen = options();
  chosen.blocks = "0-1,3-4", chosen.targets = "fc";
  adapt(net, ResLora(Shortcut::Input, chosen));
  std::vector<at::Tensor> inputs;
  const auto x = at::randn({2, kFeatures}, at::kDouble);
  const auto parameters = net.named_parameters();
  const auto truth = net.run(
      x, [&](size_t i, const at::Tensor& in) { return at::linear(in, net.blocks[i]->qkv->weight, net.blocks[i]->qkv->bias); },
      [&](size_t i, const at::Tensor& in) {
        inputs.push_back(in);
        const auto y = at::linear(in, net.blocks[i]->fc->weight);
        if (i == 2) return y;
        const std::string prefix = "blocks." + std::to_string(i) + ".fc.adapter.lora_";
        const auto& before = i == 0 || i == 3 ? in : inputs[i - 1];
        return y + at::linear(at::linear(in + before, parameters[prefix + "A"]), parameters[prefix + "B"]) * (kAlpha / kRank);
      });
  EXPECT_LE(largest(net.forward(x) - truth), 1e-12 * largest(truth));
}

TEST(ResLora, LayersOutOfOrderAreAnError) {
  Net net(3);
  adapt(net, ResLora(Shortcut::Middle, options()));
  nn::ForwardPass pass;
  const auto x = at::randn({2, kFeatures}, at::kDouble);
  net.blocks[0]->fc->run(x, pass);
  expect_error<c10::Error>([&] { net.blocks[2]->fc->run(x, pass); }, {"blocks.2.fc", "has not run in this forward pass"});
  expect_error<c10::Error>([&] { net.blocks[1]->fc->forward(x); }, {"blocks.1.fc", "ForwardPass"});
  expect_error<c10::Error>(
      [&] {
        net.blocks[1]->fc->run(at::randn({3, kFeatures}, at::kDouble), pass);
      },
      {"expected previous [3, 2], got [2, 2]"});
}

TEST(ResLora, AChainCanStartFromOneDraw) {
  Net net(4);
  auto shared = options();
  shared.shared_init = true;
  attach(net, ResLora(Shortcut::Block, shared), AttachOptions{{}});
  const auto parameters = net.named_parameters();
  EXPECT_TRUE(at::equal(parameters["blocks.0.fc.adapter.lora_A"], parameters["blocks.3.fc.adapter.lora_A"]));
  EXPECT_TRUE(at::equal(parameters["blocks.0.qkv.adapter.q.lora_A"], parameters["blocks.3.qkv.adapter.q.lora_A"]));
  EXPECT_FALSE(at::equal(parameters["blocks.0.qkv.adapter.q.lora_A"], parameters["blocks.0.qkv.adapter.v.lora_A"]));
}

TEST(ResLora, DropoutFallsOnTheUpdateAlone) {
  Net net(3);
  adapt(net, ResLora(Shortcut::Block, {.rank = kRank, .dropout = 0.5, .targets = "fc"}));
  const auto x = at::randn({2, kFeatures}, at::kDouble);
  net.train();
  EXPECT_FALSE(at::equal(net.forward(x), net.forward(x)));
  net.eval();
  EXPECT_TRUE(at::equal(net.forward(x), net.forward(x)));
}

TEST(ResLora, WrongOptionsAreErrors) {
  expect_error<std::invalid_argument>([] { ResLora(Shortcut::Block, {.rank = 0}); }, {"reslora-bs", "rank", "0"});
  expect_error<std::invalid_argument>([] { ResLora(Shortcut::Middle, {.dropout = 1.0}); }, {"reslora-ms", "dropout"});
  expect_error<std::invalid_argument>([] { ResLora(Shortcut::Block, {.pre_num = -2}); }, {"pre_num", "-2"});
  expect_error<std::invalid_argument>([] { ResLora(Shortcut::Input, {.pre_num = 4}); }, {"reslora-is", "pre_num 4"});
}

}  // namespace
}  // namespace respeft
