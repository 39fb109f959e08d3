#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <respeft/merge/merge.h>
#include <respeft/methods/lora.h>
#include <respeft/methods/reslora.h>
#include <respeft/nn/layer_norm.h>
#include <respeft/nn/linear.h>
#include <torch/optim/adamw.h>

#include <algorithm>
#include <cmath>

#include "src/methods/rank_allocation.h"
#include "tests/expect_error.h"

namespace respeft {
namespace {

using test::expect_error;

constexpr int64_t kFeatures = 6, kRank = 4, kLayers = 3;

/// Residual layers, in float64.
struct Net : torch::nn::Module {
  Net() {
    at::manual_seed(3);
    for (int64_t i = 0; i < kLayers; ++i) {
      auto block = register_module("block" + std::to_string(i), std::make_shared<torch::nn::Module>());
      layers.push_back(block->register_module("fc", nn::Linear(kFeatures, kFeatures)));
      layers.back()->set_place({.block = i});
    }
    to(at::kDouble);
  }
  at::Tensor forward(at::Tensor x) {
    nn::ForwardPass pass;
    for (auto& layer : layers) x = x + layer->run(x, pass).tanh();
    return x;
  }
  at::Tensor parameter(int64_t layer, const std::string& name) const {
    return named_parameters()["block" + std::to_string(layer) + ".fc.adapter.lora_" + name];
  }
  std::vector<nn::Linear> layers;
};

RankAllocationOptions allocation(int64_t target = 2) {
  return {.target_rank = target, .prune_start = 0.1, .prune_end = 0.7, .prune_every = 5};
}

int64_t kept(const Net& net) {
  int64_t count = 0;
  for (int64_t i = 0; i < kLayers; ++i) count += net.parameter(i, "E").ne(0).sum().item<int64_t>();
  return count;
}

TEST(RankAllocation, StartsAsTheBase) {
  Net net;
  const auto x = at::randn({5, kFeatures}, at::kDouble), before = net.forward(x);
  const auto attachment = attach(net, Lora({.rank = kRank, .allocation = allocation()}));
  ASSERT_TRUE(attachment->changes_parameters());
  EXPECT_TRUE(at::equal(net.forward(x), before));
  EXPECT_EQ(attachment->parameter_count(), kLayers * kRank * (2 * kFeatures + 1));
  EXPECT_NEAR(net.parameter(0, "A").std().item<double>(), 0.02, 0.01);
  EXPECT_FALSE(attach(*std::make_unique<Net>(), Lora({.rank = kRank}))->changes_parameters()) << "ranks that stay need no hook";
}

TEST(RankAllocation, ThePenaltyIsTheDistanceFromOrthogonality) {
  Net net;
  auto options = allocation();
  options.orthogonality = 0.3;
  const auto attachment = attach(net, Lora({.rank = kRank, .allocation = options}));
  double expected = 0.0;
  for (int64_t i = 0; i < kLayers; ++i) {
    const auto a = net.parameter(i, "A"), b = net.parameter(i, "B"), one = at::eye(kRank, at::kDouble);
    expected += (a.mm(a.t()) - one).norm().item<double>() + (b.t().mm(b) - one).norm().item<double>();
  }
  EXPECT_NEAR(attachment->regularization().item<double>(), 0.3 * expected / (2 * kLayers), 1e-12);
  attachment->regularization().backward();
  EXPECT_GT(net.parameter(0, "A").grad().abs().max().item<double>(), 0.0);
  EXPECT_FALSE(net.parameter(0, "E").grad().defined());
}

TEST(RankAllocation, TheBudgetFallsCubically) {
  Net net;
  methods::RankAllocator allocator(allocation());
  attach(net, Lora({.rank = kRank, .allocation = allocation()}));
  for (size_t i = 0; i < net.layers.size(); ++i)
    allocator.add(std::to_string(i), dynamic_cast<const methods::LowRankAdapter&>(*net.layers[i]->adapter()));
  const int64_t whole = kLayers * kRank, target = kLayers * 2;
  EXPECT_EQ(allocator.budget(1, 100), whole);
  EXPECT_EQ(allocator.budget(10, 100), whole);
  EXPECT_EQ(allocator.budget(40, 100), target + static_cast<int64_t>((whole - target) * 0.125));  // half way: (1/2)³
  EXPECT_EQ(allocator.budget(70, 100), target);
  EXPECT_EQ(allocator.budget(100, 100), target);
  for (int64_t step = 1; step < 100; ++step) EXPECT_GE(allocator.budget(step, 100), allocator.budget(step + 1, 100));
}

/// AdaLoRA's equations 7 to 11 written out, beside the hook, on gradients and values drawn at random.
TEST(RankAllocation, TheLeastImportantDirectionsGo) {
  Net net;
  const auto attachment = attach(net, Lora({.rank = kRank, .allocation = allocation()}), AttachOptions{{}});
  constexpr int64_t steps = 50;  // pruned at 10, 15, … 30, and at 35, which is the end
  const std::vector<std::string> names = {"A", "E", "B"};
  std::map<std::string, std::vector<double>> sensitivity, deviation;
  std::vector<at::Tensor> last_mask;
  for (int64_t step = 1; step <= steps; ++step) {
    for (int64_t i = 0; i < kLayers; ++i) {
      for (const auto& name : names) {
        auto value = net.parameter(i, name);
        const at::NoGradGuard no_grad;
        value.copy_(at::randn_like(value));
        value.mutable_grad() = at::randn_like(value);
        if (step >= 35) continue;
        const std::string key = name + std::to_string(i);
        auto &mean = sensitivity[key], &off = deviation[key];
        mean.resize(static_cast<size_t>(value.numel())), off.resize(static_cast<size_t>(value.numel()));
        const auto product = (value * value.grad()).abs().contiguous();
        for (size_t j = 0; j < mean.size(); ++j) {
          const double now = product.data_ptr<double>()[j];
          mean[j] = 0.85 * mean[j] + 0.15 * now;
          off[j] = 0.85 * off[j] + 0.15 * std::abs(now - mean[j]);
        }
      }
    }
    attachment->after_step(step, steps);
    if (step < 10 || (step < 35 && step % 5 != 0)) {
      EXPECT_EQ(kept(net), kLayers * kRank) << step;
      continue;
    }
    if (step <= 35) {
      std::vector<double> scores;
      for (int64_t i = 0; i < kLayers; ++i) {
        const auto score = [&](const std::string& name, int64_t at) {
          const std::string key = name + std::to_string(i);
          return sensitivity[key][static_cast<size_t>(at)] * deviation[key][static_cast<size_t>(at)];
        };
        for (int64_t r = 0; r < kRank; ++r) {
          double mean_a = 0.0, mean_b = 0.0;
          for (int64_t j = 0; j < kFeatures; ++j) {
            mean_a += score("A", r * kFeatures + j) / kFeatures;
            mean_b += score("B", j * kRank + r) / kFeatures;
          }
          scores.push_back(score("E", r) + mean_a + mean_b);
        }
      }
      const double left = 1.0 - static_cast<double>(step - 5) / 30.0;
      const auto budget = static_cast<size_t>(kLayers * 2 + static_cast<int64_t>(kLayers * 2 * left * left * left));
      auto sorted = scores;
      std::sort(sorted.rbegin(), sorted.rend());
      last_mask.clear();
      for (int64_t i = 0; i < kLayers; ++i) {
        auto mask = at::zeros({kRank, 1}, at::kBool);
        for (int64_t r = 0; r < kRank; ++r) mask[r][0] = scores[static_cast<size_t>(i * kRank + r)] >= sorted[budget - 1];
        last_mask.push_back(mask);
      }
    }
    // What went stays away once the ranks are final.
    for (int64_t i = 0; i < kLayers; ++i)
      EXPECT_TRUE(at::equal(net.parameter(i, "E").ne(0), last_mask[static_cast<size_t>(i)])) << step;
  }
  EXPECT_EQ(kept(net), kLayers * 2);
  EXPECT_TRUE(attachment->finished(35, steps));
  EXPECT_FALSE(methods::RankAllocator(allocation()).finished(34, steps));
  // A run made longer does not open what was final.
  for (int64_t step = steps + 1; step <= 2 * steps; ++step) {
    for (int64_t i = 0; i < kLayers; ++i) {
      const at::NoGradGuard no_grad;
      net.parameter(i, "E").normal_();
    }
    attachment->after_step(step, 10 * steps);
    for (int64_t i = 0; i < kLayers; ++i)
      EXPECT_TRUE(at::equal(net.parameter(i, "E").ne(0), last_mask[static_cast<size_t>(i)])) << step;
  }
}

class Allocated : public testing::TestWithParam<std::shared_ptr<Method> (*)()> {};

template <int kind>
std::shared_ptr<Method> make() {
  if constexpr (kind == 0) return std::make_shared<Lora>(LoraOptions{.rank = kRank, .allocation = allocation()});
  constexpr Shortcut shortcuts[] = {Shortcut::Block, Shortcut::Block, Shortcut::Input, Shortcut::Middle};
  return std::make_shared<ResLora>(shortcuts[kind], ResLoraOptions{.rank = kRank, .allocation = allocation()});
}
INSTANTIATE_TEST_SUITE_P(Methods, Allocated, testing::Values(make<0>, make<1>, make<2>, make<3>));

/// Trained as a library's user would: it learns, ends at the budget, and what was pruned is nothing any more.
TEST_P(Allocated, TrainsToTheBudget) {
  Net net;
  const auto attachment = attach(net, *GetParam()(), AttachOptions{{}});
  torch::optim::AdamW optimizer(attachment->trainable_parameters(), torch::optim::AdamWOptions(2e-2));
  const auto x = at::randn({64, kFeatures}, at::kDouble), y = at::randn({kFeatures, kFeatures}, at::kDouble).mm(x.t()).t().tanh();
  double first = 0.0, last = 0.0;
  constexpr int64_t steps = 120;
  for (int64_t step = 1; step <= steps; ++step) {
    const auto loss = at::mse_loss(net.forward(x), y);
    optimizer.zero_grad();
    (loss + attachment->regularization()).backward();
    optimizer.step();
    attachment->after_step(step, steps);
    last = loss.item<double>();
    if (step == 1) first = last;
  }
  EXPECT_LT(last, 0.8 * first);
  EXPECT_EQ(kept(net), kLayers * 2);
}

TEST(RankAllocation, WrongOptionsAreErrors) {
  const auto with = [](auto change) {
    return [change] {
      auto options = allocation();
      change(options);
      Lora({.rank = kRank, .allocation = options});
    };
  };
  expect_error<std::invalid_argument>(with([](auto& o) { o.target_rank = kRank; }),
                                      {"lora", "target_rank: must be below the rank of 4", "not 4"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.target_rank = -1; }), {"target_rank", "-1"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.prune_start = 0.8; }),
                                      {"prune_start: must not be above prune_end", "0.8"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.prune_end = 1.5; }), {"prune_end", "1.5"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.prune_start = o.prune_end = 0.0; }), {"prune_end: must be above 0"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.prune_every = 0; }), {"prune_every", "0"});
  expect_error<std::invalid_argument>(with([](auto& o) { o.orthogonality = -1; }), {"orthogonality", "-1"});
  expect_error<std::invalid_argument>([] { ResLora(Shortcut::Middle, {.rank = 2, .allocation = {.target_rank = 3}}); },
                                      {"reslora-ms", "target_rank"});
}

TEST(RankAllocation, TargetsWithoutALinearAreAnError) {
  torch::nn::Module net;
  auto blocks = net.register_module("blocks", std::make_shared<torch::nn::Module>());
  auto first = blocks->register_module("0", std::make_shared<torch::nn::Module>());
  auto second = blocks->register_module("1", std::make_shared<torch::nn::Module>());
  const auto norm = [] { return nn::LayerNorm(torch::nn::LayerNormOptions({kFeatures})); };
  first->register_module("norm1", norm())->set_place({.block = 0});
  first->register_module("fc1", nn::Linear(kFeatures, kFeatures))->set_place({.block = 0});
  second->register_module("norm2", norm())->set_place({.block = 1});
  expect_error<std::invalid_argument>(
      [&] { attach(net, Lora({.rank = kRank, .targets = "norm1", .allocation = allocation()})); },
      {"lora: with a target_rank of 2, expected targets", "match a linear layer", "they match norm1"});
  expect_error<std::invalid_argument>(
      [&] { attach(net, ResLora(Shortcut::Input, {.rank = kRank, .targets = "norms", .allocation = allocation()})); },
      {"reslora-is", "target_rank", "they match norm1, norm2"});
  expect_error<std::invalid_argument>(
      [&] { attach(net, Lora({.rank = kRank, .targets = "fc1", .blocks = "1", .allocation = allocation()})); },
      {"lora", "target_rank", "they match nothing"});
  EXPECT_TRUE(attach(net, Lora({.rank = kRank, .targets = "norm1,fc1", .allocation = allocation()}))->changes_parameters());
}

}  // namespace
}  // namespace respeft
